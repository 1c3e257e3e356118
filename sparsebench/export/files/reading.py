"""Files as they are read: whole, once, and no larger than the machine can hold."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed
from sparsebench.store.limits import memory_given, most_threads

_SHARE_OF_FILES = 0.25
"""Of the memory: while a network is loaded it is there as a file, as what was made anew of it, and in its runtime."""

_SHARE_OF_FEEDS = 0.25

_MOST_TEXT = 2**28

_BEYOND_ANY = 10**300
"""Sizes of a file may multiply to more than a float can hold."""

_PLAIN_NAME = re.compile(r"(?!\.{1,2}$)[^/\\:\x00-\x1f]{1,255}")


def content_of(path: Path) -> bytes:
    """Return all of a file.

    Raises:
        SparsebenchError: where it is no plain file, or too large; a sentence without the file's name.
    """
    if not path.is_file():  # Whoever opens a pipe waits for ever.
        raise SparsebenchError(f"{path.name} is no plain file; give one.")
    most = _SHARE_OF_FILES * memory_given()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise SparsebenchError(
                f"{path.name} is {_gigabytes(size)} large; at most {_gigabytes(most)}, a quarter of the memory, can be "
                "read on this machine."
            )
        return file.read(size)


def content_beside(path: Path, name: str) -> bytes:
    """Return all of a file that another one names, which must lie in the same folder, itself or by a link within it.

    Raises:
        SparsebenchError: where it does not; a sentence without the path of the file that names it.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise SparsebenchError(
            f"its weights are said to be in {name[:80]!r}; only a file in the same folder is read. Export it again."
        )
    beside = path.with_name(name)
    if not beside.is_file():
        raise SparsebenchError(f"its weights {name} are not beside it; copy both files.")
    if beside.resolve().parent != path.resolve().parent:
        raise SparsebenchError(
            f"its weights {name} are a link to another folder, which is not followed; copy the file itself."
        )
    return content_of(beside)


def text_of(content: bytes) -> bytes:
    """Return the text of a graph, which takes many times its length in memory when it is read.

    Raises:
        SparsebenchError: where it is longer than that of any network is; a sentence without the file's name.
    """
    if len(content) > _MOST_TEXT:
        raise SparsebenchError(
            f"describes its graph in {len(content) / 1e6:,.0f} MB of text; at most {_MOST_TEXT / 1e6:,.0f} MB are read."
        )
    return content


def refuse_too_much(feeds: Sequence[Feed]) -> list[str]:
    """Return what is too large to be fed on this machine, as sentences without the file's name."""
    most, total = _SHARE_OF_FEEDS * memory_given(), 0
    for feed in feeds:
        itemsize = 4 if feed.dtype == "bfloat16" else np.dtype(feed.dtype).itemsize
        size = itemsize
        for length in feed.shape:
            size *= length
        total += size
        if total > most:
            shape = ",".join(map(str, feed.shape))
            return [
                f"input {feed.name!r} of the shape {shape} takes {_gigabytes(size)}; all inputs together may take "
                f"{_gigabytes(most)}, a quarter of the memory of this machine. Lower --batch or --input-shape."
            ]
    return []


def too_many_threads(threads: int) -> list[str]:
    """Return that so many threads are more than this machine can run, as a sentence, or nothing."""
    if threads <= most_threads():
        return []
    return [f"--threads {threads}: at most {most_threads()} threads can be asked for on this machine; lower it."]


def _gigabytes(size: float) -> str:
    return f"{min(size, _BEYOND_ANY) / 1e9:,.3g} GB"
