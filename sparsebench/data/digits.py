"""Scikit-learn's handwritten digits: 1797 grey images of 8 × 8 pixels, 10 classes, shipped with the library."""

from typing import Any

_BRIGHTEST = 16.0


def digits(val_fraction: float = 0.2, test_fraction: float = 0.2, seed: int = 0) -> tuple[list[Any], int]:
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
    # Imported here so that a plan can read the version below without waiting for torch.
    import torch
    from sklearn.datasets import load_digits
    from torch.utils.data import TensorDataset

    from sparsebench.data.images import hold_out

    source = load_digits()
    images = torch.from_numpy(source.images / _BRIGHTEST).float().unsqueeze(1)
    labels = torch.from_numpy(source.target).long()
    train, test, val = hold_out(labels, [test_fraction, val_fraction], seed, "digits")
    return [TensorDataset(images[indices], labels[indices]) for indices in (train, val, test)], int(labels.max()) + 1


def digits_rows(val_fraction: float = 0.2, test_fraction: float = 0.2, seed: int = 0) -> tuple[list[Any], int]:
    """Load the digits as sequences of their 8 rows, from top to bottom, for recurrent networks.

    The options and the splits are those of ``digits``; sequences are float32 (8, 8) in [0, 1], steps first.
    """
    from torch.utils.data import TensorDataset

    splits, classes = digits(val_fraction, test_fraction, seed)
    return [TensorDataset(split.tensors[0].squeeze(1), split.tensors[1]) for split in splits], classes


digits.version = "1"  # type: ignore[attr-defined]  # read by sparsebench.data.fingerprint; raise it when samples change
digits_rows.version = "1"  # type: ignore[attr-defined]
