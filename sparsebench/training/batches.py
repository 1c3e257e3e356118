"""The batches that a loader gives, brought into one form before a network sees them: inputs and labels, checked."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsebench.errors import DataError
from sparsebench.metrics import Metric
from sparsebench.wording.text import listing

Span = tuple[int, int]
"""The lowest and the highest class in the labels of a batch."""


def parts_of_batch(batch: Any, split: str) -> tuple[Any, Any]:
    """Return the inputs and the labels of a batch.

    Raises:
        DataError: where it has other parts than these two.
    """
    if isinstance(batch, Mapping):
        names = [str(name) for name in batch]
        first, last = (names[0], names[-1]) if len(names) > 1 else ("image", "label")
        raise DataError(
            f"A batch of the {split} split is a mapping with {listing(names)}; it must be (inputs, labels). Return "
            f"(sample[{first!r}], sample[{last!r}]) from the dataset, or make such a pair in data.collate."
        )
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        parts = f"has {len(batch)} parts" if isinstance(batch, tuple | list) else f"is a {type(batch).__name__}"
        raise DataError(
            f"A batch of the {split} split {parts}; it must be (inputs, labels). Return (sample, label) from the "
            "dataset, several inputs as one tuple: ((image, side), label)."
        )
    return batch[0], batch[1]


def labels_of_batch(given: Any, split: str, dtype: torch.dtype) -> Tensor:
    """Return labels as losses take them.

    Args:
        given: class indices (N,) or (N, 1), which is squeezed; one-hot or other targets (N, C); floats of any shape.
        split: of which split they are, for the error.
        dtype: of floating labels, and of targets (N, C).

    Returns:
        int64 (N,) for class indices, ``dtype`` for anything else.

    Raises:
        DataError: where they are no numbers.
    """
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        inner = type(given[0]).__name__ if isinstance(given, tuple | list) and given else ""
        raise DataError(
            f"The labels of the {split} split are a {type(given).__name__}{f' of {inner}' * bool(inner)}, which is no "
            "tensor of numbers. Give the index of the class, counted from 0."
        ) from error
    if labels.is_floating_point():
        return labels.to(dtype)
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    # Losses take class indices as int64 only, and targets of several classes in the precision of the outputs.
    return labels.to(dtype) if labels.dim() == 2 else labels.long()


def targets_of_batch(given: Any, split: str, dtype: torch.dtype, metric: Metric | None) -> Any:
    """Return targets as a metric and its loss take them; of accuracy and its like, labels as ``labels_of_batch``."""
    if metric is None or metric.of_classes:
        return labels_of_batch(given, split, dtype)
    if metric.targets == "any":
        return given
    try:
        targets = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"The targets of the {split} split are a {type(given).__name__}, which is no tensor of numbers, and "
            f"{metric.scale.title} takes numbers."
        ) from error
    if metric.targets == "classes" and targets.is_floating_point():
        raise DataError(
            f"The targets of the {split} split are {str(targets.dtype).removeprefix('torch.')}, and "
            f"{metric.scale.title} takes the index of a class, counted from 0."
        )
    return targets.to(dtype) if metric.targets == "values" else targets.long()


def span_of(labels: Tensor, ignored: int | None) -> Span | None:
    """Return the lowest and the highest class among labels (N,), but for the ignored one; None where there is none."""
    if labels.is_floating_point() or not labels.numel():
        return None
    low, high = (int(bound) for bound in labels.aminmax())
    if ignored is None or not low <= ignored <= high:
        return low, high
    return span_of(labels[labels != ignored], None)
