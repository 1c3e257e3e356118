"""One image file: what it is, known without decoding it, and its pixels in bytes or, where it has more, in [0, 1]."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sparsebench.wording.text import counted, first_of

MOST_PIXELS = 178_956_970
"""Beyond it Pillow takes a file for a decompression bomb."""
NAMES_SHOWN = 10

_MODES = {1: "L", 3: "RGB"}
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Modes of Pillow with more than 8 bits a pixel. All are grey: it gives 16-bit colours as their upper 8 bits."""
_SIXTEEN_BITS = 65535.0
_ON_THEIR_SIDE = (5, 6, 7, 8)
"""Orientations of EXIF in which height and width change places."""
_BITS_PER_SAMPLE = 258
"""The tag of TIFF."""
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}
_TAIL = 64


@dataclass(frozen=True)
class Look:
    """What an image is: its size as it is seen, whether it has more than 8 bits a pixel, and whether more frames."""

    height: int
    width: int
    deep: bool
    animated: bool


def look_at(file: Path, most_pixels: float) -> Look:
    """Return what an image file is, without decoding it.

    Raises:
        ValueError: where it holds something that has no place in [0, 1], or too many pixels.
        Exception: whatever Pillow raises where it is no image.
    """
    if not file.is_file():  # Whoever opens a pipe waits for ever.
        raise ValueError("a link to nothing" if file.is_symlink() else "no plain file")
    if not file.stat().st_size:
        raise ValueError("an empty file")
    with Image.open(file) as opened:
        width, height = opened.size
        if width * height > most_pixels:
            raise ValueError(
                f"{height} × {width} pixels; at most {most_pixels / 1e6:.0f} million are decoded on this machine"
            )
        if opened.mode == "I" and opened.format != "PPM":  # Pillow scales those to 16 bits.
            raise ValueError("whole numbers of 32 bits, whose range is not known: save 16 bits, or floats in [0, 1]")
        if opened.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE:
            height, width = width, height
        return Look(height, width, opened.mode in _DEEP, bool(getattr(opened, "is_animated", False)))


def check_whole(file: Path) -> None:
    """Raise what Pillow raises where a file was cut off.

    PNG and JPEG files are believed where they end as they should; others, and those that do not, are decoded.
    """
    with Image.open(file) as opened:
        end = _ENDS.get(opened.format or "")
        if end is None or not _tail(file).rstrip(b"\0").endswith(end):
            opened.load()


def read_image(file: Path | IO[bytes], channels: int, size: int | None = None) -> Image.Image:
    """Return an image upright, in colour or grey, the first frame where it has several; transparency is left out.

    One of more than 8 bits a pixel is grey in any case, and of floats in [0, 1] (mode "F").

    Args:
        file: the file, or its content.
        channels: 1 or 3.
        size: side of the square to which the middle of the image is fitted; None for the image as it is.

    Raises:
        ValueError: where it holds floats outside of [0, 1].
        Exception: whatever Pillow raises where it cannot be decoded.
    """
    with Image.open(file) as opened:
        ImageOps.exif_transpose(opened, in_place=True)
        if opened.mode in _DEEP:
            image = Image.fromarray(_in_unit(np.asarray(opened), opened))
        else:
            image = opened.convert(_MODES[channels])
    return image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def pixels_of(image: Image.Image, channels: int, deep: bool) -> Any:
    """Return the pixels of what ``read_image`` gives: uint8 (C, H, W), or float32 in [0, 1] where ``deep``."""
    pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if deep and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.float32) / 255
    return np.broadcast_to(pixels, (channels, *pixels.shape[1:]))


def _in_unit(pixels: Any, opened: Image.Image) -> Any:
    """Return the grey values of an image of more than 8 bits as float32 in [0, 1]."""
    if opened.mode != "F":
        return (pixels.astype(np.float32)) / np.float32(_brightest(opened))
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # Nor is what is no number.
        raise ValueError(f"floats from {low:g} to {high:g}; scale them to [0, 1]")
    return pixels.astype(np.float32)


def _brightest(opened: Image.Image) -> float:
    """Return the value of white. TIFF has images of 12 bits, which Pillow gives as 16."""
    tags = getattr(opened, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    return float(2**bits - 1) if bits < 16 else _SIXTEEN_BITS


def _tail(file: Path) -> bytes:
    with file.open("rb") as content:
        content.seek(0, os.SEEK_END)
        content.seek(max(0, content.tell() - _TAIL))
        return content.read()


def undecodable(failed: Sequence[tuple[Path, Exception]]) -> str:
    """Return the sentence that names files which cannot be decoded, and what is wrong with each."""
    named = first_of([f"{shown(file)} ({_reason(error)})" for file, error in failed], NAMES_SHOWN)
    return f"{counted(len(failed), 'image')} cannot be decoded: {named}. Replace or remove them."


def shown(file: Path) -> str:
    """Return a path as it can be printed, also where its bytes are no text."""
    return os.fsencode(file).decode(errors="backslashreplace")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS / 1e6:.0f} million pixels"
    if isinstance(error, UnidentifiedImageError):
        return "no image of a kind that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__
