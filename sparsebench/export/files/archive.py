"""Archives as PyTorch writes them, read strictly: what one reader could take otherwise than another is refused."""

import re
import stat
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from sparsebench.errors import SparsebenchError

_LOCAL_HEADER = b"PK\x03\x04"
_LOCAL_HEADER_BYTES, _NAME_LENGTH_AT = 30, 26
_END, _END_BYTES = b"PK\x05\x06", 22
_ENCRYPTED, _HAS_TRAILER = 1, 1 << 3
_MODE = 16
"""From this bit on, the outside attributes of an entry hold its mode as POSIX has it."""
_TRAILER = b"PK\x07\x08"
_ROOT = re.compile(r"[\w.-]{1,200}")

_NOT_OURS = "is no archive as torch.export.save writes it: {}. Export the network again."


def entries(content: bytes, allowed: re.Pattern[str], explained: Callable[[str], str | None]) -> dict[str, bytes]:
    """Return what an archive holds, by its name below the one folder that everything lies in.

    There is one directory of entries, at the end; the entries lie one after another from the first byte on, each once,
    uncompressed, and under a name that is allowed letter by letter.

    Args:
        content: of the file.
        allowed: what names may be, without the folder.
        explained: returns what is to be said of a name that is not allowed; None where that is all.

    Raises:
        SparsebenchError: where anything is otherwise; a sentence without the file's name.
    """
    try:
        with ZipFile(BytesIO(content)) as archive:
            infos = archive.infolist()
            for info in infos:
                if told := explained(_below(info.orig_filename)):
                    raise SparsebenchError(told)
            problem = next(_problems(content, infos, archive.start_dir, allowed), None)
            if problem:
                raise SparsebenchError(_NOT_OURS.format(problem))
            return {_below(info.orig_filename): archive.read(info) for info in infos}
    # What zipfile raises where headers and content differ has no common base.
    except (BadZipFile, ValueError, KeyError, IndexError, OSError, EOFError, RuntimeError, struct.error) as error:
        raise SparsebenchError(
            f"is no archive of torch.export ({type(error).__name__}: {error}); write it with torch.export.save."
        ) from error


def _below(name: str) -> str:
    return name.partition("/")[2]


def _problems(content: bytes, infos: list[ZipInfo], directory: int, allowed: re.Pattern[str]) -> Iterator[str]:
    if content[-_END_BYTES:][:4] != _END or content[-2:] != b"\0\0":
        yield "something follows its directory of entries"
    roots = {info.orig_filename.partition("/")[0] for info in infos}
    if len(roots) != 1 or not all(map(_ROOT.fullmatch, roots)):
        yield f"its entries lie in {len(roots)} folders, where one is allowed"
    names = [_below(info.orig_filename) for info in infos]
    for name in names:
        if not allowed.fullmatch(name):
            yield f"it holds {name[:80]!r}, a name that is not written there"
    if len({name.casefold() for name in names}) < len(names):
        yield "it holds one name twice"
    end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.compress_type != ZIP_STORED or info.file_size != info.compress_size:
            yield f"{info.orig_filename[:80]!r} is compressed, which none of its entries is"
        if stat.S_ISLNK(info.external_attr >> _MODE):
            yield f"{info.orig_filename[:80]!r} is a link"
        if info.flag_bits & _ENCRYPTED:
            yield f"{info.orig_filename[:80]!r} is encrypted"
        if info.header_offset != end:
            yield f"there are {abs(info.header_offset - end):,} bytes that belong to no entry, or to two"
        end = _end_of(content, info)
    if end != directory:
        yield f"there are {abs(directory - end):,} bytes before its directory that belong to no entry, or to two"


def _end_of(content: bytes, info: ZipInfo) -> int:
    """Return where an entry ends, by its own header rather than by the directory."""
    at = info.header_offset
    header = content[at : at + _LOCAL_HEADER_BYTES]
    lengths = header[_NAME_LENGTH_AT:]
    if header[:4] != _LOCAL_HEADER or len(lengths) != 4:
        raise BadZipFile("an entry is not where the directory says")
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    start = at + _LOCAL_HEADER_BYTES
    if content[start : start + name] != info.orig_filename.encode():
        raise BadZipFile("an entry has another name than the directory says")
    end = start + name + extra + info.compress_size
    return end + _trailer_bytes(content, end, info) if info.flag_bits & _HAS_TRAILER else end


def _trailer_bytes(content: bytes, at: int, info: ZipInfo) -> int:
    """Return how long the repetition of an entry's sizes after it is, which has them in four bytes or in eight."""
    for form in ("<4sLLL", "<4sLQQ"):
        size = struct.calcsize(form)
        if content[at : at + size] == struct.pack(form, _TRAILER, info.CRC, info.compress_size, info.file_size):
            return size
    raise BadZipFile("an entry has other sizes than the directory says")
