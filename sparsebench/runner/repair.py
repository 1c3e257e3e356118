"""What is damaged in a run directory is made again, and with it what was built on it where it came out different.

A stage that is to be made again is set aside: its record moves to ``runs/<name>/aside/``, so that the stage counts as
not done for every process that looks, and stays there until all that follows from it is settled. A run that is killed
meanwhile goes on with that when it is started again.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from sparsebench.errors import LostError, StoreError
from sparsebench.runner.plan import Plan, Stage
from sparsebench.store.directory import ASIDE, RESULT, Store
from sparsebench.store.disk import atomic_write, clear_the_way, content_of, disk, inside
from sparsebench.store.fields import Text
from sparsebench.store.records import PARENTS, StageKind, StageRecord
from sparsebench.store.written import digest_of

_KEY = re.compile(r"[0-9a-f]{64}")

UNREADABLE = "its record is not believed"
LOST = "what it builds on was missing or damaged"
ANOTHER = "what it was built on came out different when that was made again"


@dataclass(frozen=True, kw_only=True)
class Aside:
    """A stage that is to be made again: why, and its record as it was; None where that could not be read."""

    why: Text
    record: StageRecord | None


def set_damaged_aside(stages: Iterable[Stage], status: Mapping[str, str], plan: Plan, store: Store) -> dict[str, str]:
    """Set aside what cannot be read, of the stages to come and of the artifacts that they build on.

    Only what is needed is looked at: a finished run is not read through. ``status`` says where each stage of the plan
    stands, by key.

    Returns:
        Why each of them is made again, by its key.
    """
    by_key = {stage.key: stage for stage in plan.stages}
    found: dict[str, str] = {}
    looked_at = set()
    waiting = list(stages)
    standings = store.standings((stage.kind, stage.key) for stage in waiting)
    for stage in waiting:
        if standings.get(stage.key) == "unreadable":
            set_aside(store, stage.kind, stage.key, None, UNREADABLE)
            found[stage.key] = UNREADABLE
    while waiting:
        for need in _needs(waiting.pop(), by_key):
            if need.key in looked_at or status[need.key] != "done":
                continue
            looked_at.add(need.key)
            record = store.believed(need.kind, need.key)
            why = UNREADABLE if record is None else store.damage(record)
            if why:
                set_aside(store, need.kind, need.key, record, why)
                found[need.key] = why
                waiting.append(need)
    return found


def set_lost_aside(store: Store, error: LostError, failed: StageRecord) -> None:
    """Set aside what a stage found missing or damaged while it ran, and the stage itself, which failed by that."""
    kind = cast("StageKind", error.stage)
    if store.standing(kind, error.key):
        set_aside(store, kind, error.key, store.believed(kind, error.key), error.why)
    set_aside(store, failed.stage, failed.key, failed, LOST)


def set_aside(store: Store, kind: StageKind, key: str, record: StageRecord | None, why: str) -> None:
    """Take back the commit of a stage: it is to be made again."""
    path = _path(store, kind, key)
    with disk("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(inside(store.root, path), _adapter().dump_json(Aside(why=why, record=record), indent=1))
        result = inside(store.root, store.directory(kind, key)) / RESULT
        clear_the_way(result)
        result.unlink(missing_ok=True)


def aside_of(store: Store, kind: StageKind, key: str) -> Aside | None:
    """Return what a stage was before it was set aside; None where it was not, or where that is settled."""
    try:
        content = content_of(os.fspath(_path(store, kind, key)))
        return None if content is None else _adapter().validate_json(content)
    except (StoreError, ValidationError, ArithmeticError, LookupError, TypeError, ValueError):
        return None  # What cannot be read is not known: the stage is simply made.


def settle(store: Store) -> None:
    """See to what follows from stages that were made again.

    What came out as it was before leaves all else as it is. What came out different is another network: whatever was
    built on the earlier one is set aside in its turn, down to latencies, and is made again.
    """
    made, differing = [], []
    for kind, key in _listed(store):
        aside, record = aside_of(store, kind, key), store.believed(kind, key)
        if record and record.status == "done":
            made.append(_path(store, kind, key))
            differing += [] if _is_same(aside, record.artifacts) else [record]
    children = _children(store) if differing else {}
    for record in differing:
        for child in children.get(record.key, ()):
            if child.built_on != digest_of(record):
                _set_aside_with_descendants(store, child, children)
    for path in made:
        path.unlink(missing_ok=True)


def still_open(plan: Plan, store: Store) -> frozenset[str]:
    """Return the keys of the plan's stages that were set aside and have not been made again, done or failed."""
    listed = dict.fromkeys(_listed(store))
    here = [(stage.kind, stage.key) for stage in plan.stages if (stage.kind, stage.key) in listed] if listed else []
    return frozenset(key for _, key in here) - store.standings(here).keys()


def note(before: Aside | None, artifacts: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return what the record of a stage says where it was made again; ``artifacts`` are None where it failed."""
    if before is None:
        return ()
    how = "the same" if _is_same(before, artifacts) else "different"
    compared = before.record is not None and before.record.status == "done" and artifacts is not None
    came_out = f" It came out {how}." if compared else ""
    return (f"Made again, because {before.why}.{came_out}",)


def _is_same(before: Aside | None, artifacts: Mapping[str, str] | None) -> bool:
    return bool(before and before.record and before.record.artifacts == artifacts)


def _needs(stage: Stage, stages: Mapping[str, Stage]) -> Iterator[Stage]:
    """Yield the stages whose artifacts a stage reads: networks are rebuilt from what was trained and compressed."""
    for key in filter(None, (stage.parent, *stage.baselines)):
        need = stages[key]
        yield need
        if need.kind == "compress" and need.parent:
            yield stages[need.parent]


def _set_aside_with_descendants(store: Store, record: StageRecord, children: Mapping[str, list[StageRecord]]) -> None:
    # The last ones first: what is cut short here begins anew with the same stage, which must still be there.
    for child in children.get(record.key, ()):
        _set_aside_with_descendants(store, child, children)
    set_aside(store, record.stage, record.key, record, ANOTHER)


def _children(store: Store) -> dict[str, list[StageRecord]]:
    """Return all records of the run directory by the key of what they build on; other configs' too."""
    found = defaultdict(list)
    for kind in PARENTS:
        for key in sorted(store.keys(kind)):
            record = store.believed(kind, key)
            if record and record.parent:
                found[record.parent].append(record)
    return found


def _path(store: Store, kind: StageKind, key: str) -> Path:
    return store.root / ASIDE / f"{kind}.{key}.json"


def _listed(store: Store) -> list[tuple[StageKind, str]]:
    folder = store.root / ASIDE
    parts: list[Any] = [path.stem.split(".") for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return [(part[0], part[1]) for part in parts if len(part) == 2 and part[0] in PARENTS and _KEY.fullmatch(part[1])]


@lru_cache
def _adapter() -> TypeAdapter[Aside]:
    return TypeAdapter(Aside)
