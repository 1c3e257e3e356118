"""One split as people have it: a data set, arrays or a loader. What a loader is set to is taken over, and said."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data._utils.collate import default_collate

from sparsebench.errors import DataError, reason

FORMS = (
    "a data set with __len__ and __getitem__ that gives (input, label), a tuple (inputs, labels) of tensors or arrays, "
    "or a DataLoader"
)


@dataclass(frozen=True)
class Taken:
    """A split.

    Attributes:
        dataset: its samples.
        batch_size: that of its loader; None where there was none.
        collate: the function of its loader that makes batches; None for the usual one.
        notes: what of it is used otherwise than one may think, as sentences.
    """

    dataset: Dataset[Any]
    batch_size: int | None = None
    collate: Callable[[list[Any]], Any] | None = None
    notes: tuple[str, ...] = ()


def is_array(value: Any) -> bool:
    """Whether a value is a tensor, an array or a column of a table."""
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "to_numpy")


def is_arrays(value: Any) -> bool:
    """Whether a value is ``(inputs, labels)``."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(is_array, value))


def take_split(value: Any, name: str) -> Taken:
    """Return a split as a data set.

    Args:
        value: one of ``FORMS``.
        name: of the split ("train").

    Raises:
        DataError: where it is something else, or cannot be read.
    """
    if isinstance(value, DataLoader):
        return _of_loader(value, name)
    if is_arrays(value):
        inputs, labels = value
        return Taken(_tensors(inputs, labels, name))
    if isinstance(value, IterableDataset):
        return Taken(_read_once(value, name, samples=True), notes=(_said(name, "data set that is only iterated"),))
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | bytes | dict):
        return Taken(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        return Taken(_read_once(value, name), notes=(_said(name, "loader without a data set"),))
    raise DataError(f"The {name} split is a {type(value).__name__}; give {FORMS}.")


def _said(name: str, what: str) -> str:
    return f"data: the {name} split is a {what}: it was read once, and is held in memory."


def _of_loader(loader: DataLoader[Any], name: str) -> Taken:
    if isinstance(loader.dataset, IterableDataset):
        return Taken(
            _read_once(loader, name),
            batch_size=loader.batch_size,
            notes=(_said(name, "loader of a data set that is only iterated"),),
        )
    notes = []
    if loader.batch_sampler is not None and type(loader.sampler) not in (RandomSampler, SequentialSampler):
        notes.append(
            f"data: the {type(loader.sampler).__name__} of the {name} loader is not used: training reads every sample "
            "once an epoch in random order, evaluation each once in order."
        )
    collate = None if loader.collate_fn is default_collate or loader.batch_size is None else loader.collate_fn
    return Taken(loader.dataset, loader.batch_size, collate, tuple(notes))


def _read_once(batches: Iterable[Any], name: str, samples: bool = False) -> TensorDataset:
    try:
        pairs = [(torch.as_tensor(inputs), torch.as_tensor(labels)) for inputs, labels in batches]
        join = torch.stack if samples else torch.cat
        return TensorDataset(*(join(part) for part in zip(*pairs, strict=True)))
    except Exception as error:  # Whatever a loader of somebody's own may give or raise.
        raise DataError(
            f"The {name} split could not be read: {type(error).__name__}: {reason(error)} Without a data set behind "
            "it, a loader must give (inputs, labels), two tensors each time; else give a data set."
        ) from error


def _tensors(inputs: Any, labels: Any, name: str) -> TensorDataset:
    x, y = _tensor(inputs), _tensor(labels)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise DataError(
            f"The {name} split has inputs of shape {tuple(x.shape)} and labels of shape {tuple(y.shape)}; give one "
            "label for each input."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 1 and not y.is_complex() and (not y.is_floating_point() or bool((y == y.round()).all())):
        y = y.long()
    return TensorDataset(x.float() if x.dtype == torch.double else x, y)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
    return torch.from_numpy(np.array(array))
