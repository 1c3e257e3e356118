"""Checkpoints read by other means than torch and safetensors: by the standard library and NumPy."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

_KINDS = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "BoolStorage": np.bool_,
}
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}


class _Reader(pickle.Unpickler):
    """Makes of tensors what they are: a storage, and where in it their numbers lie."""

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch" and name in _KINDS:
            return _KINDS[name]
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, told):
        _, kind, key, _, count, *_ = told
        self.storages[key] = (kind, count)
        return key


def _arrays(value, contents, kinds, where=()):
    """Yield the tensors in nested mappings, by their path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _arrays(inner, contents, kinds, (*where, str(key)))
    elif isinstance(value, tuple) and len(value) == 4 and value[0] in kinds:
        key, offset, size, stride = value
        dtype = np.dtype(kinds[key][0])
        numbers = np.frombuffer(contents[key], dtype=dtype)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if 0 in size:
            yield ".".join(where), np.empty(size, dtype)
        elif offset >= 0 and last < len(numbers):
            steps = [step * dtype.itemsize for step in stride]
            yield ".".join(where), np.lib.stride_tricks.as_strided(numbers[offset:], size, steps)


def tensors_of_archive(content):
    """Return the tensors in a file of ``torch.save``, by their path, as the standard library reads its archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (main,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        reader = _Reader(io.BytesIO(archive.read(main)))
        value = reader.load()
        folder = main.removesuffix("data.pkl")
        contents = {key: archive.read(f"{folder}data/{key}") for key in reader.storages}
    return dict(_arrays(value, contents, reader.storages))


def tensors_of_pickles(content):
    """Return the tensors in a file as ``torch.save`` wrote it before 1.6: pickles, and storages behind them."""
    file = io.BytesIO(content)
    for _ in range(3):
        _Reader(file).load()
    reader = _Reader(file)
    value = reader.load()
    contents = {}
    for key in _Reader(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        contents[key] = file.read(count * np.dtype(reader.storages[key][0]).itemsize)
    return dict(_arrays(value, contents, reader.storages))


def tensors_of_safetensors(content):
    """Return the tensors in a file of safetensors, by their name."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*told["data_offsets"])], dtype=_DTYPES[told["dtype"]]).reshape(told["shape"])
        for name, told in header.items()
    }


def made_of_parts(there, name):
    """Yield the weight that a file holds in parts: a mask, weight norm or spectral norm, as NumPy computes it."""

    def part(end):
        return next((value for other, value in there.items() if f".{other}".endswith(f".{name}{end}")), None)

    orig, mask, g, u, v = (part(end) for end in ("_orig", "_mask", "_g", "_u", "_v"))
    if orig is not None and mask is not None:
        yield orig * (mask != 0)
    if orig is not None and u is not None and v is not None:
        yield orig / (u.ravel() @ orig.reshape(len(orig), -1) @ v.ravel())
    if g is not None and v is not None:
        along = tuple(place for place, size in enumerate(g.shape) if size == 1)
        yield v * (g / np.sqrt((v.astype(float) ** 2).sum(axis=along if g.ndim else None, keepdims=True)))
