"""What is damaged in a run directory is made again, and with it what was built on it where it came out different.

A stage that is to be made again is set aside: its record moves to ``runs/<name>/aside/``, so that the stage counts as
not done for every process that looks, and stays there until all that follows from it is settled. A run that is killed
meanwhile goes on with that when it is started again.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparsebench.errors import RecordSchemaError, StoreError
from sparsebench.plan import Plan, Stage
from sparsebench.records import PARENTS, STAGE_KINDS, StageKind, StageRecord
from sparsebench.store import RESULT, Store, atomic_write, disk

ASIDE = "aside"

ANOTHER = "what it was built on came out different when that was made again"


@dataclass(frozen=True, kw_only=True)
class Aside:
    """A stage that is to be made again: its record as it was, and why."""

    why: str
    record: StageRecord


def set_damaged_aside(stages: Iterable[Stage], status: Mapping[str, str], plan: Plan, store: Store) -> dict[str, str]:
    """Set aside what stages to come build on and cannot, because an artifact of it is missing or damaged.

    Only what is needed is looked at: a finished run is not read through.

    Args:
        stages: what is to be run.
        status: where each stage of the plan stands, by key.
        plan: the plan.
        store: the run directory.

    Returns:
        Why each of them is made again, by its key.
    """
    by_key = {stage.key: stage for stage in plan.stages}
    found: dict[str, str] = {}
    looked_at = set()
    waiting = list(stages)
    while waiting:
        for need in _needs(waiting.pop(), by_key):
            if need.key in looked_at or status[need.key] != "done":
                continue
            looked_at.add(need.key)
            record = store.read(need.kind, need.key)
            why = store.damage(record) if record else None
            if record and why:
                set_aside(store, need.kind, need.key, record, why)
                found[need.key] = why
                waiting.append(need)
    return found


def set_aside(store: Store, kind: StageKind, key: str, record: StageRecord, why: str) -> None:
    """Take back the commit of a stage: it is to be made again."""
    folder = store.root / ASIDE
    with disk("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = _adapter().dump_json(Aside(why=why, record=record), indent=1)
        atomic_write(folder / f"{kind}.{key}.json", content)
        (store.directory(kind, key) / RESULT).unlink(missing_ok=True)


def aside_of(store: Store, kind: StageKind, key: str) -> Aside | None:
    """Return what a stage was before it was set aside; None where it was not, or where that is settled."""
    try:
        return _adapter().validate_json((store.root / ASIDE / f"{kind}.{key}.json").read_bytes())
    except (OSError, ValidationError):  # What cannot be read is not known: the stage is simply made.
        return None


def settle(store: Store) -> None:
    """See to what follows from stages that were made again.

    What came out as it was before leaves all else as it is. What came out different is another network: whatever was
    built on the earlier one is set aside in its turn, down to latencies, and is made again.
    """
    again = [(kind, key, aside) for kind, key in _listed(store) if (aside := aside_of(store, kind, key))]
    made = [(kind, key, aside, record) for kind, key, aside in again if (record := _done(store, kind, key))]
    differing = [one for one in made if one[2].record.artifacts != one[3].artifacts]
    children = _children(store) if differing else {}
    for _, key, _, record in differing:
        now = digest_of(record)
        for child in children.get(key, ()):
            if child.built_on != now:
                _set_aside_with_descendants(store, child, children)
    for kind, key, *_ in made:
        (store.root / ASIDE / f"{kind}.{key}.json").unlink(missing_ok=True)


def still_open(plan: Plan, store: Store) -> frozenset[str]:
    """Return the keys of the plan's stages that were set aside and have not been made again, done or failed."""
    planned = {stage.key for stage in plan.stages}
    listed = [(kind, key) for kind, key in _listed(store) if key in planned]
    return frozenset(key for kind, key in listed if store.standing(kind, key) is None)


def digest_of(record: StageRecord | None) -> str | None:
    """Return the SHA-256 over the artifacts of a stage; None without one."""
    if record is None:
        return None
    return hashlib.sha256(json.dumps(dict(record.artifacts), sort_keys=True).encode()).hexdigest()


def note(before: Aside | None, artifacts: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return what the record of a stage says where it was made again.

    Args:
        before: what it was.
        artifacts: what it brought forth now; None where it failed.
    """
    if before is None:
        return ()
    same = before.record.artifacts == artifacts
    how = "" if artifacts is None else " It came out the same." if same else " It came out different."
    return (f"Made again, because {before.why}.{how}",)


def _needs(stage: Stage, stages: Mapping[str, Stage]) -> Iterator[Stage]:
    """Yield the stages whose artifacts a stage reads: networks are rebuilt from what was trained and compressed."""
    for key in filter(None, (stage.parent, *stage.baselines)):
        need = stages[key]
        yield need
        if need.kind == "compress" and need.parent:
            yield stages[need.parent]


def _set_aside_with_descendants(
    store: Store, record: StageRecord, children: Mapping[str, list[StageRecord]], why: str = ANOTHER
) -> None:
    # The last ones first: what is cut short here begins anew with the same stage, which must still be there.
    for child in children.get(record.key, ()):
        _set_aside_with_descendants(store, child, children, why)
    set_aside(store, record.stage, record.key, record, why)


def _children(store: Store) -> dict[str, list[StageRecord]]:
    """Return all records of the run directory by the key of what they build on; other configs' too."""
    found = defaultdict(list)
    kinds: tuple[StageKind, ...] = (*STAGE_KINDS, "sensitivity")
    for kind in kinds:
        for key in sorted(store.keys(kind)):
            record = _readable(store, kind, key)
            # A record that says another key of itself was not written by us; paths are made of what was listed.
            if record and record.parent and (record.stage, record.key) == (kind, key):
                found[record.parent].append(record)
    return found


def _listed(store: Store) -> list[tuple[StageKind, str]]:
    """Return kind and key of every stage that was set aside."""
    folder = store.root / ASIDE
    names = sorted(path.name for path in folder.glob("*.json")) if folder.is_dir() else []
    parts: list[Any] = [name.removesuffix(".json").split(".") for name in names if not name.startswith(".")]
    return [(part[0], part[1]) for part in parts if len(part) == 2 and part[0] in PARENTS]


def _done(store: Store, kind: StageKind, key: str) -> StageRecord | None:
    record = _readable(store, kind, key)
    return record if record and record.status == "done" else None


def _readable(store: Store, kind: StageKind, key: str) -> StageRecord | None:
    try:
        return store.read(kind, key)
    except RecordSchemaError:
        raise
    except StoreError:
        return None


@lru_cache
def _adapter() -> TypeAdapter[Aside]:
    return TypeAdapter(Aside)
