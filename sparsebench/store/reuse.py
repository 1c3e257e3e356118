"""Stages that another run has done already: taken over instead of done again, where they are the very same."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sparsebench.errors import LostError, StoreError
from sparsebench.store.directory import RUN, Store
from sparsebench.store.written import StageKind, StageRecord, digest_of

Place = tuple[StageKind, str, str | None]
"""Kind and key of a stage, and the key of the stage that it builds on."""

_MOST_LOOKED_AT = 500
"""Run directories beside one that are looked into for what they have done."""


def take(source: Path, places: Iterable[Place], parents: dict[str, StageRecord], store: Store) -> list[StageRecord]:
    """Copy into a run the stages of another one that have the same keys, with their records and artifacts.

    A record is taken where it is believed, done, built on the very record that its parent has here, and has all its
    artifacts whole. Latencies are left: they belong to their session.

    Args:
        source: the directory of the other run.
        places: the stages that are left to do, each after the one that it builds on.
        parents: the records that are done here, by key; what is taken is added.
        store: the run that takes them over.

    Returns:
        The records that were taken.

    Raises:
        StoreError: where ``source`` is no run, or a file cannot be read or written.
    """
    other, taken = Store(source, writable=False), []
    other.read_run()
    for kind, key, parent in places:
        if kind == "measure" or (parent and parent not in parents):
            continue
        record = other.believed(kind, key)
        if record is None or record.status != "done":
            continue
        if parent and record.built_on != digest_of(parents[parent]):
            continue
        with suppress(LostError):
            _copy(record, other, store)
            parents[key] = record
            taken.append(record)
    return taken


def _copy(record: StageRecord, other: Store, store: Store) -> None:
    for name in record.artifacts:
        store.save_artifact(record.stage, record.key, name, partial(_write, other.artifact(record, name)))
    store.write(record)  # Last, as when it was done: without it the stage is not there.


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def runs_beside(store: Store, kind: StageKind, keys: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Yield the runs in the same folder that have done some of these stages, and how many, those with most first."""
    found = []
    with suppress(OSError):
        beside = sorted(path for path in store.root.parent.iterdir() if (path / RUN).is_file())
        for path in beside[:_MOST_LOOKED_AT]:
            if path.absolute() != store.root.absolute():
                with suppress(StoreError, OSError):
                    standings = Store(path, writable=False).standings((kind, key) for key in keys)
                    found.append((path, list(standings.values()).count("done")))
    yield from sorted((one for one in found if one[1]), key=lambda one: -one[1])
