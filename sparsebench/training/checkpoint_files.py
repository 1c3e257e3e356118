"""Checkpoints as files: read once, as tensors, numbers and text, without running any code of theirs.

A file is refused where two readers could take it for different ones, and where it is not as it was written, as far as
its format tells.
"""

import argparse
import json
import pickle
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.torch
import torch

from sparsebench.errors import ModelError
from sparsebench.store.limits import memory_given

_SHARE_OF_MEMORY = 0.5
"""What a checkpoint may take while it is read."""

_SAFETENSORS = ".safetensors"
_TWICE = 2
"""So often a file of safetensors is in memory while it is read."""

_LONGEST_HEADER = 10**8
"""The library reads no longer one."""

_ARCHIVE = b"PK\x03\x04"
"""How a file begins that torch takes for an archive; all others it takes for pickles in a row."""

_OF_CODE = "/constants.pkl"
"""Networks of TorchScript have an entry of this name, and no others do."""

_SCALAR = np.float64(0).__reduce__()[0]
# Classes without behaviour that training scripts often save beside the weights.
HARMLESS: list[Any] = [
    argparse.Namespace,
    defaultdict,
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
]


def read_checkpoint(path: Path, classes: Sequence[Any] = ()) -> Any:
    """Return what a file of ``torch.save`` or safetensors holds, on the CPU.

    Args:
        path: of the file; its ending tells safetensors from the other.
        classes: of which objects may be in it, beside tensors and plain values.

    Raises:
        ModelError: where it is neither, larger than the memory, or not as it was written.
    """
    try:
        with path.open("rb") as file:
            if path.suffix == _SAFETENSORS:
                _refuse_too_large(path, _TWICE * _size(file))
                return safetensors.torch.load(_with_one_meaning(file.read()))
            _refuse_too_large(path, _size(file))
            if file.read(len(_ARCHIVE)) == _ARCHIVE:
                _check_archive(path, file)
            elif _is_tar(file):
                raise _unreadable(path, "it is in a format of torch before 1.0, which is not unpacked")
            file.seek(0)
            with torch.serialization.safe_globals(list(classes)):
                return torch.load(file, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        refused = next((line for line in str(error).splitlines() if "GLOBAL" in line), "").strip()
        why = (
            f"it holds Python objects, which are not unpickled ({refused})"
            if refused
            else "it is damaged, or no such file"
        )
        raise _unreadable(path, why) from error
    except Exception as error:  # What readers raise where bytes are not what they expect has no common base.
        raise _unreadable(path, str(error).partition("\n")[0] or type(error).__name__) from error


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _is_tar(file: IO[bytes]) -> bool:
    file.seek(0)
    with suppress(tarfile.TarError):
        tarfile.open(fileobj=file, mode="r:").close()
        return True
    return False


def _refuse_too_large(path: Path, size: int) -> None:
    most = _SHARE_OF_MEMORY * memory_given()
    if size > most:
        raise _unreadable(
            path, f"it takes {size / 1e9:,.3g} GB, and at most {most / 1e9:,.3g} GB, half of the memory, are read here"
        )


def _check_archive(path: Path, file: IO[bytes]) -> None:
    """Refuse an archive that torch could take for another one than this, or whose content was damaged."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if any(info.filename.endswith(_OF_CODE) for info in infos):
            raise _unreadable(path, "it is a network of TorchScript, which is code")
        if any(info.filename.endswith(".npy") for info in infos):
            raise _unreadable(path, "it is an archive of NumPy's arrays")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise _unreadable(path, "it is compressed, which torch.save never does")
        _refuse_too_large(path, sum(info.file_size for info in infos))
        # torch finds entries whatever the case of their names.
        if len({info.filename.casefold() for info in infos}) < len(infos):
            raise _unreadable(path, "its archive holds one name twice")
        if min((info.header_offset for info in infos), default=0):
            raise _unreadable(path, "it is more than one archive, one after the other")
        # torch reads no checksums, and can be told to write none.
        if any(info.CRC for info in infos) and (damaged := archive.testzip()):
            raise _unreadable(path, f"it is damaged: {damaged[:80]!r} is not what its checksum says")


def _with_one_meaning(content: bytes) -> bytes:
    """Return a file of safetensors, unless its header has one name twice: the library would take the last."""
    length = int.from_bytes(content[:8], "little")
    if len(content) >= 8 and length <= min(_LONGEST_HEADER, len(content) - 8):
        json.loads(content[8 : 8 + length], object_pairs_hook=_unique)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"its header has {twice[:80]!r} twice")
    return found


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"The checkpoint {str(path)!r} cannot be read: {reason}. Give a file of torch.save(network.state_dict(), path) "
        "or of safetensors."
    )
