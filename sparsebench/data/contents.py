"""One sample as it is stored, decoded without trusting it: an image, a sound or an array in a few bytes."""

import io
import math
import warnings
from math import gcd
from typing import Any

import numpy as np
from PIL import Image

from sparsebench.data.reading import MOST_PIXELS, pixels_of, read_image
from sparsebench.errors import DataError, reason

MOST_CHANNELS = 64
"""Of a sound; more are rather its samples."""


def picture(content: bytes, channels: int, size: int | None, deep: bool = True) -> Any:
    """Return an image, float32 in [0, 1], (channels, H, W); bytes where it is not ``deep``, as processors take them.

    Raises:
        DataError: where it is no image, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as opened:
                if math.prod(opened.size) > MOST_PIXELS:
                    raise ValueError(f"more than {MOST_PIXELS / 1e6:.0f} million pixels")
            image = read_image(io.BytesIO(content), channels, size)
    except Exception as error:  # Whatever decoders raise.
        raise DataError(f"An image cannot be decoded: {reason(error)} Replace or remove it.") from error
    if deep:
        return pixels_of(image, channels, deep=True)
    if image.mode == "F":
        image = Image.fromarray((np.asarray(image) * 255).round().astype(np.uint8)).convert("RGB")
    return np.ascontiguousarray(pixels_of(image, channels, deep=False))


def sound(content: Any, rate: int | None) -> tuple[Any, int]:
    """Return a sound, float32 (samples,) in [-1, 1], and its samples a second; of several channels their mean.

    Args:
        content: a WAV file in bytes, or values that have the rate already.
        rate: to which it is brought; None for its own.

    Raises:
        DataError: where it is no such file.
    """
    if not isinstance(content, bytes):
        return np.asarray(content, np.float32).reshape(-1), rate or 1
    values, own = _wav(content)
    if rate is None or rate == own:
        return values, own
    from scipy.signal import resample_poly

    common = gcd(rate, own)
    return resample_poly(values, rate // common, own // common).astype(np.float32), rate


def _wav(content: bytes) -> tuple[Any, int]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # Chunks of notes beside the sound.
            rate, values = wavfile.read(io.BytesIO(content))
    except Exception as error:  # Whatever it raises where bytes are not what it expects.
        raise DataError(
            f"A sound cannot be decoded as WAV: {reason(error)} Save sounds as WAV files, or as arrays of numbers."
        ) from error
    if values.ndim == 2 and values.shape[1] <= MOST_CHANNELS:
        kind, values = values.dtype, values.mean(1)
    else:
        kind = values.dtype
    if values.ndim != 1 or not len(values) or rate < 1:
        raise DataError("A sound holds nothing; replace or remove it.")
    if kind == np.uint8:
        return ((values.astype(np.float32) - 128) / 128), int(rate)
    scale = float(np.iinfo(kind).max) + 1 if kind.kind == "i" else 1.0
    return (values / scale).astype(np.float32), int(rate)


def array(content: bytes) -> Any:
    """Return an array of a .npy file; never one of objects, which would be pickles.

    Raises:
        DataError: where it is none, or says that it is larger than it is.
    """
    from numpy.lib import format as npy

    file = io.BytesIO(content)
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError("it holds objects, or not as many values as it says")
        return np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise DataError(
            f"An array cannot be read: {reason(error)} Write it with numpy.save, as plain numbers."
        ) from error
