"""Splits held out of a dataset: stratified, and the same for the same seed."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from sparsebench.errors import DataError

_ROUNDING = 1e-6
"""A share of a whole number of samples, such as 0.3 of 20, is not to be one more by rounding of fractions."""


def hold_out(labels: Tensor, fractions: Sequence[float], seed: int, what: str) -> list[Tensor]:
    """Split samples so that every part holds the classes in equal shares.

    Args:
        labels: (N,), whole numbers.
        fractions: share of all samples in each part that is held out, in (0, 1); their sum must be below 1.
        seed: which samples go where.
        what: names the dataset in an error.

    Returns:
        The indices of the rest, and those of each part, int64, in an order drawn by the seed.

    Raises:
        DataError: where a part would be empty, or lack a class.
    """
    if not (all(fraction > 0 for fraction in fractions) and sum(fractions) < 1):
        raise DataError(
            f"{what} cannot be split by the fractions {', '.join(f'{fraction:g}' for fraction in fractions)}; "
            "each must be above 0 and their sum below 1."
        )
    rest, parts = np.arange(len(labels)), []
    for fraction in fractions:
        samples = math.ceil(fraction * len(labels) - _ROUNDING)
        try:
            rest, held = train_test_split(rest, test_size=samples, random_state=seed, stratify=labels.numpy()[rest])
        except ValueError as error:
            raise DataError(
                f"{what} cannot be split like this: {error} Use larger fractions, or more images."
            ) from error
        parts.append(held)
    return [torch.from_numpy(part) for part in (rest, *parts)]
