"""A batch of the wanted size out of the one at hand."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsebench.errors import DataError


def batch_of(example: Any, batch_size: int) -> Any:
    """Return ``batch_size`` samples of ``example``: its first ones, repeated from the start where they do not suffice.

    Args:
        example: a tensor of shape (N, …), a PackedSequence of N sequences, or a tuple, list or dict of these. What has
            no batch dimension (a number, None, a tensor without dimensions) is handed back as it is.
        batch_size: number of samples wanted, at least 1.

    Returns:
        The same structure; tensors have shape (batch_size, …).

    Raises:
        DataError: where ``example`` has no sample, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise DataError(f"A batch of {batch_size} samples is not possible; give a batch size of at least 1.")
    if isinstance(example, PackedSequence):
        return _packed(example, batch_size)
    if isinstance(example, Tensor):
        return example[_indices(len(example), batch_size)] if example.dim() else example
    if isinstance(example, tuple | list):
        parts = [batch_of(part, batch_size) for part in example]
        # A named tuple takes its fields one by one.
        return type(example)(*parts) if hasattr(example, "_fields") else type(example)(parts)
    if isinstance(example, dict):
        return {key: batch_of(value, batch_size) for key, value in example.items()}
    return example


def _indices(available: int, wanted: int) -> Tensor:
    if not available:
        raise DataError("The example batch has no sample, so that no batch can be made from it. Give it at least one.")
    return torch.arange(wanted) % available


def _packed(example: PackedSequence, batch_size: int) -> PackedSequence:
    padded, lengths = pad_packed_sequence(example, batch_first=True)
    chosen = _indices(len(lengths), batch_size)
    return pack_padded_sequence(padded[chosen], lengths[chosen], batch_first=True, enforce_sorted=False)
