"""Datasets that live on a GPU: tensors in memory are copied there once, not batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

_SHARE_OF_FREE_MEMORY = 0.25
"""Of a GPU's free memory, datasets take no more than this; the rest is for training."""


def on_device(datasets: Sequence[Dataset[Any]], device: torch.device) -> list[Dataset[Any]]:
    """Return datasets of the same samples whose tensors are on ``device``, where that is a GPU and they fit.

    ``TensorDataset`` is moved, each tensor once, however many splits share it; so are datasets that make whole batches
    by a method ``fetch`` and move by a method ``to(device)``, and subsets of these. All others are returned as they
    are, and so is everything where there is not room for all.

    Args:
        datasets: the datasets; they are not changed.
        device: where training runs.
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
    there: dict[int, Tensor] = {}

    def move(dataset: Dataset[Any]) -> Dataset[Any]:
        if type(dataset) is TensorDataset:
            for tensor in dataset.tensors:
                if id(tensor) not in there:
                    there[id(tensor)] = tensor.to(device)
            return TensorDataset(*(there[id(tensor)] for tensor in dataset.tensors))
        if type(dataset) is Subset and _tensors(dataset):
            return Subset(move(dataset.dataset), dataset.indices)
        return dataset.to(device) if _moves(dataset) else dataset  # type: ignore[attr-defined]

    return [move(dataset) for dataset in datasets]


def is_resident(dataset: Dataset[Any]) -> bool:
    """Whether the samples of a dataset are on a GPU already."""
    return any(tensor.is_cuda for tensor in _tensors(dataset))


def _tensors(dataset: Dataset[Any]) -> tuple[Tensor, ...]:
    """Return the tensors behind a dataset in memory; none for any other, subclasses too, which may compute samples."""
    if type(dataset) is TensorDataset:
        return dataset.tensors
    if _moves(dataset):
        return tuple(value for value in vars(dataset).values() if isinstance(value, Tensor))
    return _tensors(dataset.dataset) if type(dataset) is Subset else ()


def _moves(dataset: Dataset[Any]) -> bool:
    return all(callable(getattr(dataset, name, None)) for name in ("fetch", "to"))
