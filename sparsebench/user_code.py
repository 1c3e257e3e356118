"""The boundary to a user's code: what it raises becomes three lines, and nothing in it ends a run without a word."""

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

from sparsebench.errors import Ending, HardExit, SparsebenchError, UserCodeError, printable

SHOWS_TRACEBACKS = "SPARSEBENCH_TRACEBACK"
"""The variable of the environment that asks for the whole traceback of what a user's own code raises, on stderr."""


@contextmanager
def own_code(*named: tuple[str, str | None]) -> Iterator[None]:
    """Turn what a user's own code raises, ``SystemExit`` too, into a ``UserCodeError`` of three lines.

    Errors of ours pass as they are, and so do interrupts, and what no line of a user's own has a part in: it is a
    library's, or ours.

    Args:
        named: what may be called meanwhile: what it is ("model"), and its ``package.module:callable``, or None where it
            is no user's own.
    """
    references = [(kind, reference) for kind, reference in named if reference]
    try:
        yield
    except (SparsebenchError, Ending):
        raise
    except (Exception, SystemExit) as error:
        if os.environ.get(SHOWS_TRACEBACKS):
            print(printable("".join(traceback.format_exception(error))), file=sys.stderr)
        places = _own_places(error, references)
        if not places and not isinstance(error, SystemExit):
            raise
        raise UserCodeError(_three_lines(error, places, references)) from error


@contextmanager
def hard_exits_raised() -> Iterator[None]:
    """Let ``os._exit`` of this process raise ``HardExit`` meanwhile; that of its forked children ends them."""
    leave, process = os._exit, os.getpid()

    def raising(status: int) -> NoReturn:
        if os.getpid() == process:
            raise HardExit(status)
        leave(status)

    os._exit = raising
    try:
        yield
    finally:
        os._exit = leave


def where_in_own_code(error: BaseException) -> str:
    """Return where a user's own code was running when it raised, as a sentence; empty where none was."""
    return _told(_own_places(error, []))


_MOST_SHOWN = 300

_References = Sequence[tuple[str, str]]
_Place = tuple[str, int, str]
"""File, line and qualified name of what was running there."""

_USUAL = {"forward": "model", **dict.fromkeys(("__getitem__", "__getitems__", "__len__", "fetch"), "dataset")}
"""Whose a method of such a name is, where a file holds several of the callables."""

_IN_A_PROCESS = re.compile(r'^  File "(.+)", line (\d+), in (\S+)$', re.MULTILINE)
"""A line of the traceback that a loader's worker process sends as the text of its error."""


def _own_places(error: BaseException, references: _References) -> list[_Place]:
    """Return where a user's own code was running, the innermost place last."""
    frames = [
        (frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    frames += [(file, int(line), name) for file, line, name in _IN_A_PROCESS.findall(_text_of(error))]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0, "<module>"))
    packages = {file for _, reference in references if (file := _package_of(reference))}
    return [
        frame
        for frame in frames
        if not is_library(frame[0]) or any(frame[0].startswith(package) for package in packages)
    ]


def _three_lines(error: BaseException, places: Sequence[_Place], references: _References) -> str:
    whose = _whose(places, references)
    what = f"{whose[0].capitalize()} {whose[1]!r}" if whose else "Code of your own"
    if isinstance(error, SystemExit):
        call = "os._exit" if isinstance(error, HardExit) else "sys.exit"
        raised = f"It called {call}({error.code!r}), which would have ended the run; raise an error, or return."
    else:
        lines = _text_of(error).strip().splitlines()
        if _IN_A_PROCESS.search("\n".join(lines)):  # What was raised there stands behind its traceback.
            last = max(number for number, line in enumerate(lines) if line.startswith("  "))
            line = " ".join(lines[last + 1 :])
        else:
            line = f"{type(error).__name__}: {' '.join(lines)}".rstrip(": ")
        raised = line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"
    where = _told(places) or "No line of your own code was running."
    return printable(f"{what} raised an error:\n{raised}\n{where}")


def _told(places: Sequence[_Place]) -> str:
    return "In {}, line {}, {}.".format(*places[-1]) if places else ""


def _whose(places: Sequence[_Place], references: _References) -> tuple[str, str] | None:
    """Return which of the references was running: the innermost that a place belongs to by its name, or by its file."""
    for file, _, name in reversed(places):
        for kind, reference in references:
            if _file_of(reference) == file and name.split(".")[0] == reference.partition(":")[2].split(".")[0]:
                return kind, reference
    for file, _, name in reversed(places):
        there = [(kind, reference) for kind, reference in references if _file_of(reference) == file]
        if there:
            usual = _USUAL.get(name.rpartition(".")[2])
            return next((one for one in there if one[0] == usual), there[0])
    return references[0] if references else None


def _file_of(reference: str) -> str | None:
    return getattr(sys.modules.get(reference.partition(":")[0]), "__file__", None)


def _package_of(reference: str) -> str | None:
    """Return the folder of the package that a reference is in, or its file where it is in none."""
    module = sys.modules.get(reference.partition(":")[0].partition(".")[0])
    file = getattr(module, "__file__", None)
    return os.path.dirname(file) + os.sep if file and hasattr(module, "__path__") else file


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"(its text cannot be made: {type(broken).__name__})"


_TYPED = ("<stdin>", "<ipython-input")
"""How the files of code begin that somebody typed."""


@cache
def _libraries() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {os.path.realpath(path) for kind in kinds if (path := sysconfig.get_path(kind))}
    return tuple(folder + os.sep for folder in {*folders, str(Path(__file__).resolve().parent)})


def is_library(file: str) -> bool:
    """Whether a file is of Python, of what is installed, or of this package."""
    installed = f"{os.sep}site-packages{os.sep}"
    return (
        (file.startswith("<") and not file.startswith(_TYPED))
        or installed in file
        or os.path.realpath(file).startswith(_libraries())
    )
