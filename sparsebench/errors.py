"""Every exception and warning of the package, each a sentence with its remedy, and the boundary to a user's code."""

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


class SparsebenchError(Exception):
    """Base of all errors raised on purpose; its text says what was found, what is allowed and what to do."""


class ProblemsError(SparsebenchError):
    """Several problems found in one check, reported together.

    Attributes:
        problems: one sentence each, in the order in which they were found.
    """

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = (problem.replace("\n", "\n    ") for problem in self.problems)
        super().__init__("\n".join([heading, *(f"  - {line}" for line in lines)]))


class ConfigError(ProblemsError):
    """The configuration cannot be used; lists all its faults at once."""


class ContractError(ProblemsError):
    """A trainer does not keep the trainer contract; lists all its faults at once."""


class UnknownNameError(SparsebenchError):
    """A name that no registry holds; the text suggests the nearest and lists the valid ones."""


class DataError(SparsebenchError):
    """A dataset or a split that cannot be trained on or measured."""


class ModelError(SparsebenchError):
    """A network that cannot be built, does not fit its data, or whose weights do not fit it."""


class PruningError(SparsebenchError):
    """A threshold or a weight that pruning cannot work with."""


class QuantizationError(SparsebenchError):
    """A network that a scheme cannot quantize; the text carries the library's own reason."""


class TrainingError(SparsebenchError):
    """Training that cannot go on, such as a loss that is not a number."""


class UserCodeError(SparsebenchError):
    """Code that a config names has raised something: three lines, which callable, what, and where."""


class Ending(SystemExit):
    """This process was asked to end, and unwinds through whatever it is doing."""


class HardExit(SystemExit):
    """``os._exit`` was called where it would have ended a whole run without a word; see ``hard_exits_raised``."""


class VariantError(SparsebenchError):
    """A variant that cannot be timed, or at which a timing worker died or hung.

    Attributes:
        variant: its name.
    """

    def __init__(self, variant: str, text: str) -> None:
        self.variant = variant
        super().__init__(text)

    def __reduce__(self) -> tuple[type["VariantError"], tuple[str, str]]:
        return VariantError, (self.variant, str(self))


class WorkerError(SparsebenchError):
    """A process that carried out a task and died, or was ended because it took too long."""


class StoreError(SparsebenchError):
    """A run directory or a record in it that cannot be written or read."""


class LostError(StoreError):
    """What a stage builds on is missing or damaged; the run makes it again.

    Attributes:
        stage: the kind of the stage that is lost.
        key: its key.
        why: what is wrong with it.
    """

    def __init__(self, stage: str, key: str, why: str, text: str) -> None:
        self.stage, self.key, self.why = stage, key, why
        super().__init__(text)

    def __reduce__(self) -> tuple[type["LostError"], tuple[str, str, str, str]]:
        return LostError, (self.stage, self.key, self.why, str(self))


class UnreadableRecordError(StoreError):
    """A record that is not believed: it is not as it was written, or cannot be right.

    Attributes:
        why: what is wrong with it.
    """

    def __init__(self, text: str, why: str = "") -> None:
        self.why = why or text
        super().__init__(text)

    def __reduce__(self) -> tuple[type["UnreadableRecordError"], tuple[str, str]]:
        return UnreadableRecordError, (str(self), self.why)


class RecordSchemaError(StoreError):
    """A record written under another schema version; it is refused, never misread."""


class NoEffectWarning(UserWarning):
    """Something was asked for and changed nothing: nothing was pruned, or nothing was quantized."""


class UnreachedWarning(UserWarning):
    """What was asked for was reached only nearly; the text says what was reached instead, and why."""


class OutputsWarning(UserWarning):
    """A network answers otherwise than one would think: with more than scores, or otherwise each time."""


class LeftOutWarning(UserWarning):
    """Records of a run that are not believed, and were left out of what is shown."""


def reason(error: Exception) -> str:
    """Return the first line of what a library said, ended as a sentence."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if line.endswith((".", "!", "?")) else f"{line}."


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


_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What drives a terminal, turns the direction of writing or is half a character."""


def printable(text: str) -> str:
    """Return text that can be written anywhere and does nothing to a terminal: all else stands as its escape.

    The escapes are those of JSON as well as of Python.
    """
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
        if not _is_library(frame[0]) or any(frame[0].startswith(package) for package in packages)
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


@cache
def _libraries() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {os.path.realpath(path) for kind in kinds if (path := sysconfig.get_path(kind))}
    return tuple(folder + os.sep for folder in {*folders, str(Path(__file__).resolve().parent)})


def _is_library(file: str) -> bool:
    installed = f"{os.sep}site-packages{os.sep}"
    return file.startswith("<") or installed in file or os.path.realpath(file).startswith(_libraries())
