"""Image files decoded all at once into one array, which is kept on disk."""

import hashlib
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from sparsebench.data.reading import (
    MOST_PIXELS,
    NAMES_SHOWN,
    Look,
    check_whole,
    look_at,
    pixels_of,
    read_image,
    shown,
    undecodable,
)
from sparsebench.errors import DataError
from sparsebench.store.disk import clear_parts, replacing
from sparsebench.store.limits import cores_given, memory_given
from sparsebench.wording.text import counted, first_of

_CHUNK = 256
_WORTH_KEEPING = 2000
"""From so many images on, what was decoded is kept on disk: below that, decoding takes a second or two."""
_SIZES_SHOWN = 5
_VERSION = 2
_SHARE_OF_ALL, _SHARE_OF_ONE = 0.5, 0.25
"""Of the memory: what all decoded images may take, and those that are being decoded."""
_BYTES_A_PIXEL = 12
"""While an image is decoded: its own colours, those converted, and what is fitted."""


class Images:
    """Image files that are decoded together, each fitted to a square of side ``size``; None where all have one size.

    Args:
        files: at least one.
        channels: 1 or 3.
        size: side of the square.
        cache: folder in which what was decoded is kept, with digests of the files (names, sizes, times) and of the
            pixels. What does not fit them any more is decoded anew.
    """

    def __init__(self, files: Sequence[Path], channels: int, size: int | None, cache: Path) -> None:
        self._files, self._channels, self._size = files, channels, size
        self._made_of = _digest(files, channels, size)
        self._path = cache / f"images-{self._made_of[:32]}.safetensors"

    def kept(self) -> Tensor | None:
        """Return the pixels that were decoded before, mapped into memory, where they are whole; None otherwise."""
        if not self._path.is_file():
            return None
        with suppress(OSError, SafetensorError, KeyError), safe_open(self._path, framework="pt") as kept:
            told = kept.metadata() or {}
            images: Tensor = kept.get_tensor("images")
            known = told.get("made_of") == self._made_of and self._can_be(images)
            if known and told.get("sha256") == _digest_of(images.numpy()):
                return images
        return None

    def _can_be(self, images: Tensor) -> bool:
        """Whether pixels are of as many images, of such a form, as these files have."""
        if images.ndim != 4 or tuple(images.shape[:2]) != (len(self._files), self._channels):
            return False
        if self._size and tuple(images.shape[2:]) != (self._size, self._size):
            return False
        if images.dtype == torch.float32:
            return bool((images >= 0).all() and (images <= 1).all())
        return images.dtype == torch.uint8

    @cached_property
    def looks(self) -> list[Look]:
        """What each file is, known without decoding it.

        Raises:
            DataError: where some cannot be decoded here; those that were cut off are named with them.
        """
        if self._size and self._size**2 > most_pixels():
            raise DataError(
                f"size = {self._size} asks for images of {self._size**2 // 10**6} million pixels; at most "
                f"{most_pixels() / 1e6:.0f} million are decoded on this machine. Lower it."
            )
        found: list[Look | None] = [None] * len(self._files)
        failed: dict[int, Exception] = {}
        most = most_pixels()  # Once: it reads files of the system.

        def look(index: int) -> None:
            found[index] = look_at(self._files[index], most)

        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            _each(range(len(self._files)), look, failed)
            if failed:
                good = [index for index, one in enumerate(found) if one is not None]
                _each(good, lambda index: check_whole(self._files[index]), failed)
        self._raise(failed)
        looks = [one for one in found if one is not None]
        self._say_animated(looks)
        return looks

    @property
    def bytes(self) -> int:
        """What all take in memory, decoded: a byte a value, four where one has more than 8 bits a pixel."""
        first = self.looks[0]
        pixels = self._size**2 if self._size else first.height * first.width
        return len(self._files) * self._channels * pixels * (4 if self._deep else 1)

    @cached_property
    def _deep(self) -> bool:
        return any(look.deep for look in self.looks)

    def check_whole(self) -> None:
        """Find files that were cut off, once for the same files, where they are not decoded together.

        Raises:
            DataError: where there are some, all of them named.
        """
        checked = self._path.with_suffix(".checked")
        with suppress(OSError):
            if checked.is_file() and checked.read_text(encoding="utf-8", errors="replace") == self._made_of:
                return
        failed: dict[int, Exception] = {}
        _each(range(len(self.looks)), lambda index: check_whole(self._files[index]), failed)
        self._raise(failed)
        with suppress(OSError):  # It is looked at again the next time.
            checked.parent.mkdir(parents=True, exist_ok=True)
            with replacing(checked) as partial:
                partial.write_text(self._made_of, encoding="utf-8")

    def decode(self) -> Tensor:
        """Return all images: bytes, uint8 (N, C, H, W), or float32 in [0, 1] where one has more than 8 bits a pixel.

        Raises:
            DataError: where images cannot be decoded, all of them named, differ in size, or need too much memory.
        """
        looks, most = self.looks, _SHARE_OF_ALL * memory_given()
        self._check_sizes()
        if self.bytes > most:
            raise DataError(
                f"The {len(looks):,} images take {self.bytes / 1e9:.3g} GB decoded, more than half of the memory here "
                f"({most / 1e9:.3g} GB). Lower size, or set in_memory = false with it."
            )
        height, width = (self._size, self._size) if self._size else (looks[0].height, looks[0].width)
        kind = np.float32 if self._deep else np.uint8
        images = np.empty((len(looks), self._channels, height, width), dtype=kind)
        failed: dict[int, Exception] = {}

        def decode(index: int) -> None:
            image = read_image(self._files[index], self._channels, self._size)
            images[index] = pixels_of(image, self._channels, self._deep)

        largest = max(look.height * look.width for look in looks)
        at_once = int(_SHARE_OF_ONE * min(memory_given(), 2**50) // (_BYTES_A_PIXEL * largest))
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            _each(range(len(looks)), decode, failed, at_once)
        self._raise(failed)
        if len(looks) >= _WORTH_KEEPING:
            self._keep(images)
        return torch.from_numpy(images)

    def _check_sizes(self) -> None:
        sizes = Counter(f"{look.height} × {look.width}" for look in self.looks)
        if self._size is None and len(sizes) > 1:
            found = first_of([f"{count} of {name}" for name, count in sizes.most_common()], _SIZES_SHOWN)
            raise DataError(f"The images differ in size ({found}); give the option size, to which all are fitted.")

    def _say_animated(self, looks: Sequence[Look]) -> None:
        names = [shown(file) for file, look in zip(self._files, looks, strict=True) if look.animated]
        if names and multiprocessing.parent_process() is None:  # Workers load the same again.
            warnings.warn(
                f"{counted(len(names), 'image')} of {len(looks):,} have several frames, of which the first is read: "
                f"{first_of(names, NAMES_SHOWN)}.",
                UserWarning,
                stacklevel=2,
            )

    def _keep(self, images: Any) -> None:
        folder, told = self._path.parent, {"made_of": self._made_of, "sha256": _digest_of(images)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            clear_parts(folder)
            with replacing(self._path) as partial:
                save_file({"images": images}, partial, told)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(
                f"The decoded images cannot be kept in {folder}: {reason}. Make room there, or choose another "
                "folder as cache_dir."
            ) from error

    def _raise(self, failed: dict[int, Exception]) -> None:
        if failed:
            raise DataError(undecodable([(self._files[index], failed[index]) for index in sorted(failed)]))


def most_pixels() -> float:
    """Return how many pixels an image may have to be decoded on this machine."""
    return min(MOST_PIXELS, _SHARE_OF_ONE * memory_given() / _BYTES_A_PIXEL)


def _each(
    indices: Sequence[int], do: Callable[[int], None], failed: dict[int, Exception], at_once: int | None = None
) -> None:
    """Do something with every image, several at once; what it raised is noted, for one must not hide the others."""

    def chunk(start: int) -> None:
        for index in indices[start : start + _CHUNK]:
            try:
                do(index)
            except Exception as error:  # Pillow raises what its decoders raise.
                failed[index] = error

    threads = max(1, min(round(cores_given()), at_once or _CHUNK))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(chunk, range(0, len(indices), _CHUNK)))


def _digest(files: Sequence[Path], channels: int, size: int | None) -> str:
    digest = hashlib.sha256(f"{_VERSION}\0{channels}\0{size}\n".encode())
    for file in files:
        try:
            facts = file.stat()
            state = f"{facts.st_size}\0{facts.st_mtime_ns}"
        except OSError as error:  # It is named with all others that cannot be read.
            state = str(error.errno)
        digest.update(os.fsencode(file) + f"\0{state}\n".encode())
    return digest.hexdigest()


def _digest_of(images: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
