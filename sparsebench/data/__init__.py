"""Datasets by name, in three splits, checked before anything is trained on them.

A loader is a callable that returns ``([train, val, test], number_of_classes)``. A new one is a file with such a
function and a line in ``DATASETS``; its attribute ``version`` is raised whenever its samples change. ``places`` names
options that say where the data are, not what they are, and ``files`` the paths of data that its options do not name.

torch is imported where it is used: a plan needs fingerprints only, and these must be had in a blink.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.errors import DataError
from sparsebench.hub import processor_of
from sparsebench.registry import DATASETS, import_reference
from sparsebench.user_code import own_code

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """A dataset in three map-style splits of ``(input, label)``, labels 0 to ``classes - 1``.

    Samples of another form are for ``collate``, which makes ``(inputs, labels)`` of a list of them.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any]
    classes: int
    collate: Callable[[list[Any]], Any] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first training sample, without the batch; empty where its inputs are several.

        Raises:
            DataError: where samples are no pairs, and nothing makes pairs of them.
        """
        sample = self.train[0]
        if isinstance(sample, tuple | list):
            return tuple(getattr(sample[0], "shape", ())) if sample else ()
        if self.collate is None:
            raise DataError(
                f"A training sample is {type(sample).__name__}, not (input, label). Give a function that makes "
                "(inputs, labels) of a list of samples as data.collate = 'package.module:callable'."
            )
        return tuple(getattr(self.collate([sample])[0], "shape", (0,)))[1:]

    @property
    def samples(self) -> dict[str, int]:
        """Number of samples of ``train``, ``val`` and ``test``."""
        return {name: len(getattr(self, name)) for name in SPLIT_NAMES}


def load_splits(name: str, options: Mapping[str, Any] | None = None, of_classes: bool = True) -> Splits:
    """Load a dataset and check it.

    Args:
        name: a registered name, or ``package.module:callable``.
        options: keyword arguments for the loader.
        of_classes: whether labels are classes; otherwise the number beside the splits is that of the network's outputs.

    Returns:
        The three splits.

    Raises:
        UnknownNameError: where no such dataset is known.
        DataError: where the options do not fit or the data cannot be used; every problem is listed.
        UserCodeError: where a loader of a user's own raises.
    """
    loader = DATASETS.load(name)
    if not callable(loader):
        raise DataError(f"Dataset {name!r} is {type(loader).__name__!r}, which cannot be called; give a function.")
    options = dict(options or {})
    try:
        signature = inspect.signature(loader)
        signature.bind(**options)
    except TypeError as error:
        raise DataError(
            f"Dataset {name!r} cannot be loaded with these options: {error}. "
            f"It takes {', '.join(signature.parameters) or 'no options'}."
        ) from error
    except ValueError:  # A compiled loader may not tell its signature; the call itself will.
        pass
    with own_code(("dataset", name if DATASETS.is_own(name) else None)):
        splits = _splits(name, loader(**options))
        problems = _problems(splits, of_classes)
    if problems:
        raise DataError("\n".join([f"Dataset {name!r} cannot be used:", *(f"  - {problem}" for problem in problems)]))
    return splits


def collate_name(collate: str | Mapping[str, Any] | None) -> str | None:
    """Return the reference of a collate function as a config has it: by its name, or as a table with options."""
    return collate["name"] if isinstance(collate, Mapping) else collate


def load_collate(collate: str | Mapping[str, Any] | None) -> Callable[[list[Any]], Any] | None:
    """Return a collate function as a config has it, its options filled in; None for none.

    Raises:
        SparsebenchError: where it cannot be imported.
        DataError: where it is no function, or does not take the options.
    """
    name = collate_name(collate)
    if name is None:
        return None
    function = import_reference(name)
    if not callable(function):
        raise DataError(f"The collate function {name!r} is {type(function).__name__!r}, which cannot be called.")
    options = dict(collate["options"]) if isinstance(collate, Mapping) else {}
    with suppress(ValueError):  # What is compiled may not tell its signature.
        signature = inspect.signature(function)
        try:
            signature.bind([], **options)
        except TypeError as error:
            raise DataError(
                f"The collate function {name!r} cannot be called with a list of samples and these options: {error}. "
                f"It takes {', '.join(signature.parameters) or 'nothing'}."
            ) from error
    return functools.partial(function, **options) if options else function


def labels_of(dataset: Dataset[Any]) -> Tensor | None:
    """Return the labels of a dataset, (N,), where they can be had without loading its samples; otherwise None.

    They are taken from a ``TensorDataset``, from an attribute ``targets`` or ``labels`` (torchvision's datasets), and
    through ``Subset`` and ``ConcatDataset``.
    """
    import torch
    from torch.utils.data import ConcatDataset, Subset, TensorDataset

    found: Tensor | None = None
    if isinstance(dataset, TensorDataset):
        found = dataset.tensors[-1] if len(dataset.tensors) > 1 else None
    elif isinstance(dataset, Subset):
        parent = labels_of(dataset.dataset)
        found = None if parent is None else parent[torch.as_tensor(dataset.indices, dtype=torch.long)]
    elif isinstance(dataset, ConcatDataset):
        known = [labels for part in dataset.datasets if (labels := labels_of(part)) is not None]
        found = torch.cat(known) if len(known) == len(dataset.datasets) else None
    else:
        listed = getattr(dataset, "targets", getattr(dataset, "labels", None))
        if listed is not None and not callable(listed):
            with suppress(TypeError, ValueError, RuntimeError):  # Labels of another kind, such as strings or boxes.
                found = torch.as_tensor(listed)
    # A wrapper may change its samples and keep the labels of all: only what matches in number is taken for theirs.
    return found if found is not None and found.ndim == 1 and len(found) == _length(dataset) else None


def fingerprint(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what tells one dataset from another, cheaply and without loading it.

    Args:
        name: a registered name, or ``package.module:callable``.
        options: the loader's keyword arguments. Where one of them is the path of an existing file or folder, names,
            sizes and modification times of the files are part of the fingerprint. Options that only say where the data
            of a known dataset are kept are no part of it. The content of a processor's folder is.

    Returns:
        A mapping that can be written as JSON; the same for the same data.
    """
    # A user's own loader is not imported for this; that its source is the same is for the caller to see.
    loader = None if DATASETS.is_own(name) else DATASETS.load(name)
    version, places = getattr(loader, "version", None), getattr(loader, "places", ())
    kept = {key: value for key, value in (options or {}).items() if key not in places}
    paths = kept | {str(path): path for path in getattr(loader, "files", ())}
    return {
        "name": DATASETS.canonical(name),
        "version": None if version is None else str(version),
        "options": {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in kept.items()},
        "files": {
            key: files_below(Path(value))
            for key, value in paths.items()
            if isinstance(value, str | os.PathLike) and str(value) and os.path.exists(value)
        },
        **processor_of(options or {}),
    }


def cache_folder(given: str | os.PathLike[str] | None = None, own: str = "") -> Path:
    """Return the folder that a user chose, or ``own`` in the one that the system keeps for such things.

    ``SPARSEBENCH_CACHE`` sets another for all datasets; by default it is ``~/.cache/sparsebench``.
    """
    if given is not None:
        return Path(given).expanduser()
    if chosen := os.environ.get("SPARSEBENCH_CACHE"):
        return Path(chosen).expanduser() / own
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsebench" / own


def _splits(name: str, returned: object) -> Splits:
    """Return what a loader returned as ``Splits``, or say what it should have returned."""
    if isinstance(returned, Splits):
        return returned
    shape = f"Dataset {name!r} must return ([train, val, test], number_of_classes)"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        size = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise DataError(f"{shape}; it returned {type(returned).__name__}{size}.")
    datasets, classes = returned
    if not isinstance(datasets, Sequence) or len(datasets) != len(SPLIT_NAMES):
        size = f" of {len(datasets)}" if isinstance(datasets, Sequence) else ""
        raise DataError(f"{shape}; in place of the three splits it returned {type(datasets).__name__}{size}.")
    if isinstance(classes, bool) or not isinstance(classes, int):
        raise DataError(f"{shape}; in place of the number of classes it returned {classes!r}.")
    train, val, test = datasets
    return Splits(train, val, test, classes)


def _problems(splits: Splits, of_classes: bool) -> list[str]:
    problems = []
    if not of_classes and splits.classes < 1:
        problems.append(f"it says it has {splits.classes} outputs; a network needs at least 1.")
    elif of_classes and splits.classes < 2:
        problems.append(f"it says it has {splits.classes} classes; at least 2 are needed.")
    for name in SPLIT_NAMES:
        dataset = getattr(splits, name)
        samples = _length(dataset)
        if samples is None:
            problems.append(f"the {name} split has no length; give a map-style dataset with __len__ and __getitem__.")
        elif not samples:
            problems.append(f"the {name} split is empty; give it at least one sample.")
        elif of_classes:
            problems += _label_problems(name, labels_of(dataset), splits.classes)
    return problems


def _label_problems(split: str, labels: Tensor | None, classes: int) -> list[str]:
    if labels is None:
        return []
    if labels.is_floating_point() or labels.is_complex():
        return [
            f"the {split} split has labels of type {labels.dtype}; give whole numbers, the index of the class, or name "
            "a metric of numbers, such as metric.name = 'mean_absolute_error'."
        ]
    low, high = (int(bound) for bound in labels.aminmax())
    problems = []
    if low == high:
        problems.append(f"the {split} split holds class {low} only; accuracy needs two classes or more.")
    if low < 0 or high >= classes:
        problems.append(
            f"the {split} split has labels from {low} to {high}; with {classes} classes "
            f"they must be from 0 to {classes - 1}. Correct the labels or the number of classes."
        )
    return problems


def _length(dataset: object) -> int | None:
    try:
        return len(dataset)  # type: ignore[arg-type]  # what has no length is what is asked
    except TypeError:
        return None


def files_below(path: Path) -> dict[str, Any]:
    """Return what tells files from others, without reading them: names, sizes and times, of one or all in a folder."""
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in found:
        facts = file.stat()
        # A name may be no text.
        name = os.fsencode(file.relative_to(path.parent).as_posix())
        digest.update(name + f"\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return {"count": len(found), "sha256": digest.hexdigest()}
