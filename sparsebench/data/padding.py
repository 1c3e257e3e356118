"""A collate function for sequences of several lengths: filled up to one length, with a mask of what is filled."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsebench.errors import DataError

MASK = "attention_mask"


def padded(
    samples: list[Any], length: int | None = None, fill: float = 0, name: str = "input_ids"
) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch of sequences and labels, as networks of transformers take it.

    In a config it is ``collate = { name = "sparsebench.data.padding:padded", options = { length = 128 } }``.

    Args:
        samples: ``(sequence, label)``, a sequence being (length, …), or a mapping of such sequences by name.
        length: of all; longer ones are cut. By default that of the longest in the batch, which runs in torch alone:
            runtimes of exported networks take one length.
        fill: what stands behind the end: the index of the token for padding.
        name: of the sequence, where it stands alone.

    Returns:
        Tensors (N, length, …) by name, with ``attention_mask`` among them, 1 where there is something, and labels (N,).

    Raises:
        DataError: where sequences of one sample differ in their lengths, or ``length`` is below 1.
    """
    if length is not None and length < 1:
        raise DataError(f"length is {length}; give the length of all sequences, at least 1.")
    inputs = [given if isinstance(given, Mapping) else {name: given} for given, _ in samples]
    rows = [{key: torch.as_tensor(value)[:length] for key, value in one.items()} for one in inputs]
    for row in rows:
        if len({len(value) for value in row.values()}) > 1:
            lengths = ", ".join(f"{key} {len(value)}" for key, value in row.items())
            raise DataError(f"The sequences of a sample differ in their lengths ({lengths}); give one to each step.")
        row.setdefault(MASK, torch.ones(len(next(iter(row.values()))), dtype=torch.int64))
    most = length or max(len(row[MASK]) for row in rows)
    batch = {key: torch.stack([_filled(row[key], most, 0 if key == MASK else fill) for row in rows]) for key in rows[0]}
    return batch, torch.as_tensor([label for _, label in samples])


def _filled(values: Tensor, length: int, fill: float) -> Tensor:
    whole = values.new_full((length, *values.shape[1:]), fill)
    whole[: len(values)] = values
    return whole
