"""Run directories of earlier versions, whose records had no digests: the next start of the run gives them theirs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sparsebench.store.directory import ASIDE, RESULT, RUN, Store
from sparsebench.store.disk import atomic_write, clear_parts, disk, inside, marked
from sparsebench.store.sealing import sealed, unsealed
from sparsebench.store.written import PARENTS

_AT_WORK = "at-work"


@contextmanager
def at_work(store: Store) -> Iterator[None]:
    """Leave word in a run directory, which is there, that stages are worked on: for who comes after a killed process.

    Raises:
        StoreError: where that cannot be written.
    """
    with ExitStack() as stack:
        with disk("write", store.root):
            stack.enter_context(marked(store.root, _AT_WORK))
        yield


def take_over(store: Store) -> bool:
    """Give the records of a run directory the digests that they lack, and remove what was left half-written there.

    Where ``run.json`` has its digest, that was done before, and a record without one was changed since.

    Returns:
        Whether somebody was killed who worked on stages, so that files of theirs may lie in the folders of these.

    Raises:
        StoreError: where the disk cannot be read or written.
    """
    left = [name for folder in (store.root, store.root / ASIDE) for name in clear_parts(folder)]
    asked = store.raw_run()
    if asked is None or unsealed(asked)[1] is None:
        run_is_there = asked is not None and store.read_run_if_any() is not None
        places = [(kind, key) for kind in PARENTS for key in sorted(store.keys(kind))]
        # What they hold is not kept meanwhile: there may be tens of thousands of them.
        bare = {place: unsealed(raw)[1] is None for place in places if (raw := store.raw(*place)) is not None}
        # Either nothing has a digest, or a process was killed on its way through them; any other record without one was
        # changed since, and is not believed.
        in_order = list(bare.values()) == sorted(bare.values())
        if all(bare.values()) or (run_is_there and in_order):
            for kind, key in (place for place, is_bare in bare.items() if is_bare):
                _seal(store, store.directory(kind, key) / RESULT, store.raw(kind, key) or b"")
        if run_is_there and asked is not None:
            _seal(store, store.root / RUN, asked)
    store.takes_over()
    return any(name.startswith(f".{_AT_WORK}.") for name in left)


def _seal(store: Store, path: Path, content: bytes) -> None:
    # One that was cut off has no end to which a digest could be added, and is found by that later.
    if content.rstrip().endswith(b"}"):
        with disk("write", path):
            atomic_write(inside(store.root, path), sealed(content))
