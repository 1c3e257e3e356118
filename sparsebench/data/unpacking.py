"""A compressed file as it is unpacked, no further than there is room for."""

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

_MAGIC = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""How files begin that are compressed, and what unpacks them."""

_MOST_AT_ONCE = 2**24
"""Headers of an archive say how long they are, and are read whole."""


class TooLargeError(Exception):
    """More would be unpacked than is allowed; the text says what, without the file's name."""


class _Limited(io.RawIOBase):
    """What can be read of another stream up to a place in it."""

    def __init__(self, stream: IO[bytes], most: float) -> None:
        self._stream, self._most = stream, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            self._require(offset)
        return self._stream.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        wanted = _MOST_AT_ONCE + 1 if size is None or size < 0 else size
        if wanted > _MOST_AT_ONCE:
            raise TooLargeError(f"has a header of more than {_MOST_AT_ONCE / 1e6:.0f} MB")
        self._require(self._stream.tell() + wanted)
        return self._stream.read(wanted)

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _require(self, end: int) -> None:
        if end > self._most + _MOST_AT_ONCE:
            raise TooLargeError(f"is larger than {self._most / 1e9:.3g} GB unpacked")


@contextmanager
def unpacked(file: Path, most: float) -> Iterator[IO[bytes]]:
    """Give out the content of a file, unpacked where it is compressed.

    Args:
        file: compressed by gzip, bzip2 or xz, or not at all, as its first bytes say.
        most: bytes; whoever reads beyond them is stopped.

    Raises:
        TooLargeError: when it is read beyond that, or very much at once.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(file.open("rb"))
        head = raw.read(6)
        raw.seek(0)
        opener: Any = next((opener for magic, opener in _MAGIC.items() if head.startswith(magic)), None)
        stream = stack.enter_context(opener(raw)) if opener else raw
        yield cast("IO[bytes]", _Limited(stream, most))
