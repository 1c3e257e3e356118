"""Arrays in a .npz file, as ``npz:PATH``: what ``numpy.savez`` leaves."""

import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sparsebench.data.listing import SPLIT_FOLDERS
from sparsebench.errors import DataError, reason
from sparsebench.store.limits import memory_given

LAYOUTS = ("as_is", "hw", "hwc")

_INPUTS = {"x", "data", "image", "images", "input", "inputs", "feature", "features", "samples"}
_LABELS = {"y", "label", "labels", "target", "targets", "class", "classes"}
_BY_PLACE = {"arr_0": ("", "inputs"), "arr_1": ("", "labels")}
"""How ``numpy.savez(path, inputs, labels)`` calls what it is given without a name."""

_SHARE_OF_MEMORY = 0.5
_FLOAT_BYTES = 4
_BRIGHTEST = 255.0


_UNREADABLE = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What reading an archive or an array raises that is damaged, or none."""


class Header(NamedTuple):
    """What an array is, without its values."""

    shape: tuple[int, ...]
    dtype: Any


class Arrays:
    """Arrays x and y, or x_train, y_train, x_test and y_test, in a .npz file, such as npz:samples.npz.

    Args:
        path: the file.
    """

    version = "1"

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        self.files = (self.path,)  # read by sparsebench.data.fingerprint

    def __call__(
        self,
        layout: Literal["as_is", "hw", "hwc"] = "as_is",
        tokens: bool = False,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
    ) -> tuple[list[Any], int]:
        """Load the arrays in three splits.

        Inputs are called x, data, images, inputs or features, labels y, labels or targets, each alone or with train,
        val or test before or behind it. What is missing of val and test is held out of the rest by the fractions.

        Args:
            layout: "as_is" where a sample is as the network takes it; "hw" for grey images without channels, "hwc" for
                images with channels last.
            tokens: whether whole numbers are indices, such as those of words, and stay whole.
            val_fraction: share of the samples that is held out for validation, classes in equal shares.
            test_fraction: share that is held out for testing.
            seed: which samples those are.

        Returns:
            ``([train, val, test], number_of_classes)``; inputs are float32, of bytes scaled to [0, 1], or int64 with
            ``tokens``; labels int64.

        Raises:
            DataError: where there are no such arrays, they do not fit one another or into memory, or an option is not
                allowed.
        """
        from torch.utils.data import TensorDataset

        from sparsebench.data.images import hold_out

        if layout not in LAYOUTS:
            raise DataError(f"layout is {layout!r}; give one of {', '.join(LAYOUTS)}.")
        roles = roles_of(headers(self.path))
        values = _values(self.path, [name for names in roles.values() for name in names.values()])
        found = {
            split: (
                _inputs(values[names["inputs"]], names["inputs"], layout, tokens),
                _labels(values[names["labels"]], names["labels"]),
            )
            for split, names in roles.items()
        }
        for split, (inputs, labels) in found.items():
            if len(inputs) != len(labels):
                of = f" of {split}" if split else ""
                raise DataError(f"{self.path} has {len(inputs)} inputs{of} and {len(labels)} labels; give one to each.")
        splits = {split: TensorDataset(inputs, labels) for split, (inputs, labels) in found.items()}
        rest = splits.pop("") if "" in splits else splits["train"]
        wanted = {name: share for name, share in (("test", test_fraction), ("val", val_fraction)) if name not in splits}
        if wanted:
            inputs, labels = rest.tensors
            parts = hold_out(labels, list(wanted.values()), seed, str(self.path))
            for name, rows in zip(("train", *wanted), parts, strict=True):
                splits[name] = TensorDataset(inputs[rows], labels[rows])
        classes = 1 + max(int(labels.max()) for _, labels in found.values())
        return [splits[name] for name in ("train", "val", "test")], classes


def headers(path: Path) -> dict[str, Header]:
    """Return what each array of a .npz file is, by name, without reading its values.

    Raises:
        DataError: where it is no such file, or its arrays would take more than half of the memory here.
    """
    from numpy.lib import format as npy

    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    version = npy.read_magic(file)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = read(file)
                found[name.removesuffix(".npy")] = Header(shape, dtype)
    except FileNotFoundError:
        raise DataError(f"There is no {str(path)!r}; give the path of a .npz file.") from None
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    values = 0
    for shape, _ in found.values():
        count = 1
        for side in shape:
            count *= side
        values += count
    if _FLOAT_BYTES * values > (most := _SHARE_OF_MEMORY * memory_given()):
        raise DataError(
            f"The arrays of {str(path)!r} take {_FLOAT_BYTES * values / 1e9:.3g} GB as floats, more than half of the "
            f"memory here ({most / 1e9:.3g} GB). Give fewer, or a loader of your own as 'package.module:callable'."
        )
    return found


def _values(path: Path, names: Iterable[str]) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    text = f"{str(path)!r} is no .npz file of plain arrays: {reason(error)} Write one with numpy.savez."
    return DataError(text)


def roles_of(found: Mapping[str, Header]) -> dict[str, dict[str, str]]:
    """Return the names of inputs and labels of each split; "" stands for samples that are in no split yet.

    Raises:
        DataError: where no array is called like inputs, or one without labels, or two claim the same place.
    """
    roles: dict[str, dict[str, str]] = {}
    for name, header in found.items():
        split, part = _BY_PLACE.get(name) or _role(name)
        if part is None:
            continue
        if header.dtype.hasobject:
            raise DataError(f"The array {name!r} holds objects, which are not read; give it plain numbers.")
        if (other := roles.setdefault(split, {}).setdefault(part, name)) != name:
            raise DataError(f"Both {other!r} and {name!r} are {part}; keep one of them.")
    whole = [split for split, parts in roles.items() if len(parts) == 2]
    if not {"", "train"} & set(whole) or len(whole) < len(roles) or {"", "train"} <= set(whole):
        raise DataError(
            f"The arrays {_listed(found)} are no inputs with their labels; call them x and y, or x_train, y_train, "
            "x_test and y_test."
        )
    return roles


def _role(name: str) -> tuple[str, str | None]:
    """Return the split that the name of an array speaks of, and whether it is inputs or labels."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    split = next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), "")
    rest = {word for word in words if word not in SPLIT_FOLDERS}
    if rest and rest <= _INPUTS:
        return split, "inputs"
    return split, "labels" if rest and rest <= _LABELS else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "(there are none)"


def _inputs(values: Any, name: str, layout: str, tokens: bool) -> Any:
    import numpy as np
    import torch

    if values.dtype.kind not in "biuf":
        raise DataError(f"The array {name!r} holds {values.dtype}; give numbers.")
    needed = {"hw": 3, "hwc": 4}.get(layout, values.ndim)
    if values.ndim != needed or values.ndim < 2:
        raise DataError(
            f"The array {name!r} has shape {values.shape}, which is not that of samples with layout {layout!r}."
        )
    if tokens and values.dtype.kind in "iu":
        return torch.from_numpy(values.astype(np.int64))
    floats = torch.from_numpy(values.astype(np.float32))
    if values.dtype == np.uint8:
        floats /= _BRIGHTEST
    if layout == "hw":
        return floats.unsqueeze(1)
    return floats.permute(0, 3, 1, 2).contiguous() if layout == "hwc" else floats


def _labels(values: Any, name: str) -> Any:
    import numpy as np
    import torch

    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if flat.ndim != 1 or flat.dtype.kind not in "biu":
        raise DataError(
            f"The array {name!r} holds {values.dtype} of shape {values.shape}; labels are one whole number a sample, "
            "the index of the class from 0."
        )
    return torch.from_numpy(flat.astype(np.int64))
