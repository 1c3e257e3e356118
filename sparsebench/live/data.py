"""Data as people have them, in the three splits that everything here works with."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from sparsebench.data import SPLIT_NAMES, Splits, files_below, labels_of
from sparsebench.errors import DataError
from sparsebench.live.digests import digest
from sparsebench.live.naming import as_named, called
from sparsebench.live.splits import FORMS, Taken, is_array, is_arrays, take_split
from sparsebench.live.table import hold
from sparsebench.registry import DATASETS, unknown_name

HELD_OUT = 0.15
"""Share of the training samples that a split is made of where it is missing."""

_SEED = 0
_ALIASES = {"valid": "val", "validation": "val", "dev": "val", "training": "train"}


class Given(NamedTuple):
    """Data for a config.

    Attributes:
        table: of ``[[data]]``.
        batch_size: that of the loaders; None where there were none.
        samples: of the training split; None where it is not loaded yet.
        notes: what of them is used otherwise than one may think, as sentences.
        short: what they are called in the name of a run.
    """

    table: dict[str, Any]
    batch_size: int | None = None
    samples: int | None = None
    notes: tuple[str, ...] = ()
    short: str = ""


class HeldData:
    """Data sets of a session, as a loader of a registry gives them."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits

    def __call__(self) -> Splits:
        """Return the splits."""
        return self._splits


def take_data(data: Any) -> Given:
    """Return data as the config takes them.

    Args:
        data: one split, ``(train, test)``, ``(train, val, test)`` or a mapping of these names; a name or
            ``package.module:callable``, the function itself, or a table of the config.

    Raises:
        DataError: where they are something else, or cannot be read.
        NoDigestError: where they cannot be told from others, and have no version.
    """
    if isinstance(data, str):
        return Given({"name": data}, short=called(data))
    if isinstance(data, Mapping) and isinstance(data.get("name"), str):
        return Given(dict(data), short=called(data["name"]))
    if callable(data) and not hasattr(data, "__getitem__"):
        reference = as_named(data, DATASETS)
        return Given({"name": reference}, short=called(reference))
    splits = {split: take_split(value, split) for split, value in _by_name(data).items() if value is not None}
    datasets, made = _complete({split: taken.dataset for split, taken in splits.items()})
    train = splits["train"]
    collate = next((taken.collate for taken in splits.values() if taken.collate), None)
    classes, read = _classes(datasets["train"], collate)
    whole = Splits(**datasets, classes=classes, collate=collate)
    kind = called(type(_innermost(train.dataset)).__name__)
    known = digest({**datasets, "collate": collate, "files": _files_of(splits)}, "data")
    held = hold(f"{kind}@{known}", HeldData(whole))
    notes = [*(note for taken in splits.values() for note in taken.notes), *made, *read, *_taken_over(train)]
    return Given({"name": held}, train.batch_size, whole.samples["train"], tuple(notes), kind)


def _by_name(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        found = {_ALIASES.get(str(name), str(name)): value for name, value in data.items()}
        if unknown := [name for name in found if name not in SPLIT_NAMES]:
            raise DataError(unknown_name("Split", unknown[0], SPLIT_NAMES))
        if "train" not in found:
            raise DataError(f"The data have {', '.join(found) or 'no splits'} and no train split; give one.")
        return found
    if isinstance(data, tuple | list) and not is_arrays(data):
        if any(map(is_array, data)):
            raise DataError(
                f"The data are {len(data)} tensors or arrays; give (inputs, labels), or a tuple of splits, each "
                "(inputs, labels)."
            )
        if isinstance(data, tuple) or all(not isinstance(one, tuple | list) or is_arrays(one) for one in data):
            if len(data) == 2:
                return dict(zip(("train", "test"), data, strict=True))
            if len(data) == 3:
                return dict(zip(SPLIT_NAMES, data, strict=True))
            raise DataError(
                f"The data are {len(data)} splits; give train, (train, test) or (train, val, test): {FORMS}."
            )
    return {"train": data}


def _complete(datasets: dict[str, Dataset[Any]]) -> tuple[dict[str, Dataset[Any]], list[str]]:
    """Return all three splits; those that are missing are held out of the training samples, always the same ones."""
    missing = [split for split in ("val", "test") if split not in datasets]
    if not missing:
        return datasets, []
    samples = _samples(datasets["train"], "train")
    each = max(1, round(HELD_OUT * samples))
    if samples <= len(missing) * each:
        raise DataError(
            f"The training split has {samples} samples, too few to hold out {' and '.join(missing)}; give these splits."
        )
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(_SEED)).tolist()
    found, train = dict(datasets), datasets["train"]
    for place, split in enumerate(missing):
        found[split] = Subset(train, sorted(order[place * each : (place + 1) * each]))
    found["train"] = Subset(train, sorted(order[len(missing) * each :]))
    said = " and no ".join({"val": "validation", "test": "test"}[split] for split in missing)
    note = (
        f"data: there is no {said} split: {each:,} of the {samples:,} training samples are held out for "
        f"{'each' if len(missing) > 1 else 'it'}, drawn with seed {_SEED}. What a network was trained on before "
        "is no test of it."
    )
    return found, [note]


def _files_of(splits: Mapping[str, Taken]) -> dict[str, Any]:
    """Return what tells the files of those data sets that read them from a folder, as torchvision's do."""
    roots = {split: getattr(_innermost(taken.dataset), "root", None) for split, taken in splits.items()}
    paths = {split: Path(root) for split, root in roots.items() if isinstance(root, str | os.PathLike) and str(root)}
    return {split: files_below(path) for split, path in paths.items() if path.exists()}


def _samples(dataset: Dataset[Any], name: str) -> int:
    try:
        return len(dataset)  # type: ignore[arg-type] # what has no length is what is asked
    except TypeError:
        raise DataError(f"The {name} split has no length; give {FORMS}.") from None


def _classes(dataset: Dataset[Any], collate: Any) -> tuple[int, list[str]]:
    """Return how many classes there are; what had to be read for that is said."""
    if isinstance(named := getattr(_innermost(dataset), "classes", None), list | tuple):
        return len(named), []
    labels = labels_of(dataset)
    if labels is not None:
        return int(labels.max()) + 1, []
    count = _samples(dataset, "train")
    try:
        read = [_label_of(dataset[number], collate) for number in range(count)]
        found = max(len(one) if one.numel() > 1 else int(one) + 1 for one in read)
    except Exception as error:  # Whatever a data set of somebody's own may give or raise.
        raise DataError(
            f"The number of classes cannot be told: a sample could not be read as (input, label) "
            f"({type(error).__name__}: {error}). Give the data set an attribute classes, the list of their names."
        ) from error
    return found, [
        f"data: all {count:,} training samples were read to count the classes; an attribute classes or targets of the "
        "data set would save that."
    ]


def _label_of(sample: Any, collate: Any) -> Tensor:
    _, label = collate([sample]) if collate else sample
    return torch.as_tensor(label).squeeze()


def _innermost(dataset: Any) -> Any:
    return _innermost(dataset.dataset) if isinstance(dataset, Subset) else dataset


def _taken_over(train: Taken) -> list[str]:
    taken = [f"batch size {train.batch_size}"] if train.batch_size else []
    taken += ["collate function"] if train.collate else []
    if not taken:
        return []
    return [f"data: of the train loader, {' and '.join(taken)} and data set are used; loaders are made anew of these."]
