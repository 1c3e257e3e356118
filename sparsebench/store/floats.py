"""A number of each of many samples, as text."""

import base64
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BYTES = np.dtype("<f4").itemsize

MOST = 50_000_000
"""Numbers beyond which none are packed: more would be more than a record may hold."""


def pack_floats(values: ArrayLike) -> str:
    """Return numbers as base64 of the deflated float32, the lowest byte first."""
    return base64.b64encode(zlib.compress(np.asarray(values, dtype="<f4").tobytes(), 9)).decode("ascii")


def unpack_floats(packed: str, count: int) -> NDArray[np.float64]:
    """Return the ``count`` numbers that ``pack_floats`` packed.

    Raises:
        ValueError, binascii.Error, zlib.error: where it is not what ``pack_floats`` returns, or another number of them.
    """
    if count > MOST:
        raise ValueError(f"{count} numbers are more than a record holds")
    # Bounded, for a few bytes can unpack to all that a machine has.
    raw = zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), count * _BYTES + 1)
    if len(raw) != count * _BYTES:
        raise ValueError(f"{len(raw)} bytes are not {count} numbers")
    return np.frombuffer(raw, dtype="<f4").astype(np.float64)
