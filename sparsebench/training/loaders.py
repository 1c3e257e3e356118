"""The batches of the three splits: whole ones of what is in memory, and worker processes for everything else.

Datasets in memory live on the GPU that trains: their tensors are copied there once, not batch by batch.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, TensorDataset

from sparsebench.errors import DataError
from sparsebench.processes import without_main

SPLITS = ("train", "val", "test")

_MAX_WORKERS = 4

_SHARE_OF_FREE_MEMORY = 0.25
"""Of a GPU's free memory, datasets take no more than this; the rest is for training."""

Collate = Callable[[list[Any]], Any]
Fetch = Callable[[Tensor], list[Tensor]]


def build_loaders(
    datasets: Sequence[Dataset[Any]], device: torch.device, batch_size: int, collate_fn: Collate | None
) -> dict[str, DataLoader[Any]]:
    """Return the loader of each split, of datasets that are moved to the device where they may be."""
    if collate_fn is None:
        datasets = on_device(datasets, device)
    return {
        split: build_loader(
            dataset, split, batch_size, collate_fn, pin_memory=device.type == "cuda" and not is_resident(dataset)
        )
        for split, dataset in zip(SPLITS, datasets, strict=True)
    }


def build_loader(
    dataset: Dataset[Any], split: str, batch_size: int, collate_fn: Collate | None, pin_memory: bool = False
) -> DataLoader[Any]:
    """Return the loader of one split.

    Only ``train`` is shuffled and drops its last, smaller batch. Tensors in memory, and datasets with a method
    ``fetch(positions)`` that returns a batch, are read by whole batches without worker processes, or sample by sample
    where ``collate_fn`` is given; any other dataset gets up to 4 workers, which stay alive between epochs.
    ``len(loader)`` is the number of batches in each case.

    Raises:
        DataError: where the split is empty, or a training batch is larger than the training split.
    """
    samples = len(dataset)  # type: ignore[arg-type]  # Dataset declares no __len__; every map-style one has it
    if batch_size < 1:
        raise DataError(f"The batch size {batch_size} is not allowed; it must be at least 1.")
    if not samples:
        raise DataError(f"The {split} split is empty; give it at least one sample.")
    training = split == "train"
    if training and batch_size > samples:
        raise DataError(
            f"The batch size {batch_size} is larger than the training split ({samples} samples), so that no batch "
            f"could be made; lower batch_size to {samples} or less."
        )
    fetch = _fetch_of(dataset)
    if fetch is not None and collate_fn is None:
        return DataLoader(
            _WholeBatches(fetch, samples, copies=_holds_tensors(dataset)),
            batch_size=None,
            sampler=_IndexBatches(samples, batch_size, training),
            pin_memory=pin_memory,
        )
    workers = 0 if fetch is not None else min(_MAX_WORKERS, _cores())
    how = how_to_start(dataset, collate_fn) if workers else None
    workers = 0 if how == NO_WAY else workers
    return _Loader(
        dataset,
        batch_size=batch_size,
        shuffle=training,
        drop_last=training,
        collate_fn=collate_fn,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        multiprocessing_context=how if workers else None,
    )


class _Loader(DataLoader[Any]):
    """A loader whose worker processes never run the script that started this process."""

    def _get_iterator(self) -> Any:
        context = self.multiprocessing_context or multiprocessing
        # A copy of this process has the script, and what it defines, already.
        with nullcontext() if context.get_start_method() == "fork" else without_main():
            return super()._get_iterator()


NO_WAY = "none"


def how_to_start(dataset: Dataset[Any], collate_fn: Collate | None) -> str | None:
    """Return how worker processes of a loader are started: None for the usual way, else ``fork``, or ``none`` at all.

    A class or function of a script, or of a notebook, reaches only a process that is a copy of this one.
    """
    usual = multiprocessing.get_start_method()
    if usual == "fork":
        return None
    try:
        with without_main():
            pickle.Pickler(_Nowhere()).dump((dataset, collate_fn))
    except Exception:  # Whatever a __reduce__ raises.
        return "fork" if "fork" in multiprocessing.get_all_start_methods() else NO_WAY
    return None


class _Nowhere:
    """Takes what is written, and keeps nothing."""

    def write(self, data: bytes) -> int:
        return len(data)


def on_device(datasets: Sequence[Dataset[Any]], device: torch.device) -> list[Dataset[Any]]:
    """Return datasets of the same samples whose tensors are on ``device``, where that is a GPU and they fit.

    ``TensorDataset`` is moved, each tensor once, however many splits share it; so are datasets that make whole batches
    by a method ``fetch`` and move by a method ``to(device)``, and subsets of these. All others are returned as they
    are, and so is everything where there is not room for all.
    """
    tensors = {id(tensor): tensor for dataset in datasets for tensor in _tensors(dataset)}
    if device.type != "cuda" or not tensors:
        return list(datasets)
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    free, _ = torch.cuda.mem_get_info(device)
    if needed > _SHARE_OF_FREE_MEMORY * free:
        return list(datasets)
    return moved(datasets, device)


def moved(datasets: Sequence[Dataset[Any]], device: torch.device) -> list[Dataset[Any]]:
    """Return datasets of the same samples whose tensors are on ``device``; others than tensors stay as they are."""
    once = cache(lambda tensor: tensor.to(device))

    def move(dataset: Dataset[Any]) -> Dataset[Any]:
        if type(dataset) is TensorDataset:
            return TensorDataset(*map(once, dataset.tensors))
        if type(dataset) is Subset and _tensors(dataset):
            return Subset(move(dataset.dataset), dataset.indices)
        return dataset.to(device) if _moves(dataset) else dataset  # type: ignore[attr-defined]

    return [move(dataset) for dataset in datasets]


def is_resident(dataset: Dataset[Any]) -> bool:
    """Whether the samples of a dataset are on a GPU already."""
    return any(tensor.is_cuda for tensor in _tensors(dataset))


def training_device(cuda: str) -> torch.device:
    """Return the device that is asked for, or the CPU where it is a GPU that is not there."""
    device = torch.device(cuda)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return torch.device("cpu")
    return device


def split_sizes(datasets: Sequence[Dataset[Any]] | None) -> dict[str, int]:
    """Return the number of samples of each split.

    Raises:
        DataError: where they are not three datasets with a length.
    """
    if datasets is None or len(datasets) != len(SPLITS):
        found = "None" if datasets is None else f"{len(datasets)} of them"
        raise DataError(f"datasets must be [train, val, test]; found {found}.")
    sizes = {}
    for split, dataset in zip(SPLITS, datasets, strict=True):
        if not hasattr(dataset, "__len__"):
            raise DataError(f"The {split} split has no length; give a map-style dataset, not an iterable one.")
        sizes[split] = len(dataset)
    return sizes


def _tensors(dataset: Dataset[Any]) -> tuple[Tensor, ...]:
    # Behind a dataset in memory; none for any other, subclasses too, which may compute samples.
    if type(dataset) is TensorDataset:
        return dataset.tensors
    if _moves(dataset):
        return tuple(value for value in vars(dataset).values() if isinstance(value, Tensor))
    return _tensors(dataset.dataset) if type(dataset) is Subset else ()


def _moves(dataset: Dataset[Any]) -> bool:
    return all(callable(getattr(dataset, name, None)) for name in ("fetch", "to"))


def gives_copies(loader: DataLoader[Any]) -> bool:
    """Whether the batches of a loader are copies for certain, which may be changed."""
    return loader.num_workers > 0 or getattr(loader.dataset, "copies", False)


def _holds_tensors(dataset: Dataset[Any]) -> bool:
    return _holds_tensors(dataset.dataset) if type(dataset) is Subset else type(dataset) is TensorDataset


def _cores() -> int:
    # Those that this process may use, which in a container are fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fetch_of(dataset: Dataset[Any]) -> Fetch | None:
    # What makes a batch of positions in a dataset in memory; a subclass may give other samples than its tensors hold.
    if type(dataset) is TensorDataset:
        return lambda rows: [tensor.index_select(0, rows.to(tensor.device)) for tensor in dataset.tensors]
    if type(dataset) is Subset:
        inner = _fetch_of(dataset.dataset)
        indices = torch.as_tensor(dataset.indices, dtype=torch.long)
        return None if inner is None else lambda positions: inner(indices[positions])
    fetch: Fetch | None = getattr(dataset, "fetch", None)
    return fetch


@dataclass(eq=False)
class _WholeBatches(Dataset[list[Tensor]]):
    """Samples in memory, indexed by a tensor of positions: one gather a tensor in place of a copy a sample."""

    fetch: Fetch
    samples: int
    copies: bool
    """Whether what is fetched is a copy for certain."""

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, positions: Tensor) -> list[Tensor]:
        return self.fetch(positions)


@dataclass(eq=False)
class _IndexBatches(Sampler[Tensor]):
    """Yields the indices of each batch as one tensor; in training in random order, without the last, smaller batch."""

    samples: int
    batch_size: int
    training: bool

    def __len__(self) -> int:
        return self.samples // self.batch_size if self.training else -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.samples) if self.training else torch.arange(self.samples)
        yield from torch.split(order, self.batch_size)[: len(self)]
