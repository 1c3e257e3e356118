"""How many samples a training really reads of each split: a loader may drop its last batch, or repeat samples."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from torch.utils.data import DataLoader

from sparsebench.tensors import samples_in
from sparsebench.training.contract import TrainerLike

Most = Mapping[str, int]
"""The most samples that one pass through the loader of a split gave, by the split's name."""


@contextmanager
def read_in_a_pass(trainer: TrainerLike) -> Iterator[Most]:
    """Count what the loaders of a trainer give for a while, and yield the counts, which grow.

    Splits whose loader is no ``DataLoader``, or was not read by itself, are not among them: libraries of trainers make
    loaders of their own of those that they are given.
    """
    most: dict[str, int] = defaultdict(int)
    loaders = trainer.dataloader if isinstance(trainer.dataloader, Mapping) else {}
    changed: list[tuple[DataLoader[Any], type[Any]]] = []
    for split, loader in loaders.items():
        if isinstance(loader, DataLoader) and not any(loader is one for one, _ in changed):
            kind = type(loader)
            with suppress(TypeError):  # Of some classes no object can become one of another.
                # It stays a DataLoader of its kind for whoever asks.
                loader.__class__ = _counting(kind, split, most)
                changed.append((loader, kind))
    try:
        yield most
    finally:
        for loader, kind in changed:
            loader.__class__ = kind


def samples_of(batch: Any) -> int:
    """Return how many samples a batch of a loader has: as many as labels, where it is a pair."""
    labels = batch[-1] if isinstance(batch, tuple | list) and batch else None
    return (samples_in(batch) if labels is None else answers_in(labels)) or 0


def answers_in(value: Any) -> int | None:
    """Return of how many samples labels or outputs are; objects found in images are a list with a mapping for each."""
    if isinstance(value, tuple | list) and value and all(isinstance(one, Mapping) for one in value):
        return len(value)
    return samples_in(value)


def _counting(kind: type[Any], split: str, most: dict[str, int]) -> type[Any]:
    def passing(loader: Any) -> Iterator[Any]:
        given = 0
        for batch in kind.__iter__(loader):
            given += samples_of(batch)
            most[split] = max(most[split], given)
            yield batch

    return type(kind.__name__, (kind,), {"__iter__": passing, "__module__": kind.__module__, "__doc__": kind.__doc__})
