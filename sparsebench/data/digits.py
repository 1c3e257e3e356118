"""Scikit-learn's handwritten digits: 1797 grey images of 8 × 8 pixels, 10 classes, shipped with the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.errors import DataError

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

_BRIGHTEST = 16.0


def digits(val_fraction: float = 0.2, test_fraction: float = 0.2, seed: int = 0) -> tuple[list[TensorDataset], int]:
    """Load the digits in three splits with the classes in equal shares.

    Args:
        val_fraction: share of all samples in the validation split, in (0, 1).
        test_fraction: share of all samples in the test split, in (0, 1); some must be left for training.
        seed: which samples go where.

    Returns:
        ``([train, val, test], 10)``; images are float32 (1, 8, 8) in [0, 1], labels int64.

    Raises:
        DataError: where the fractions leave a split empty.
    """
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise DataError(
            f"digits cannot be split with val_fraction={val_fraction} and test_fraction={test_fraction}; "
            "both must be above 0 and their sum below 1."
        )
    # Imported here so that a plan can read the version below without waiting for torch.
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from torch.utils.data import TensorDataset

    source = load_digits()
    images = torch.from_numpy(source.images / _BRIGHTEST).float().unsqueeze(1)
    labels = torch.from_numpy(source.target).long()
    everything = range(len(labels))
    try:
        rest, test = train_test_split(everything, test_size=test_fraction, random_state=seed, stratify=labels)
        share = val_fraction / (1 - test_fraction)
        train, val = train_test_split(rest, test_size=share, random_state=seed, stratify=labels[rest])
    except ValueError as error:
        raise DataError(f"digits cannot be split like this: {error} Use larger fractions.") from error
    return [TensorDataset(images[indices], labels[indices]) for indices in (train, val, test)], int(labels.max()) + 1


digits.version = "1"  # type: ignore[attr-defined]  # read by sparsebench.data.fingerprint; raise it when samples change
