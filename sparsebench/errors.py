"""Every exception and warning of the package, each a sentence with its remedy."""

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any


class SparsebenchError(Exception):
    """Base of all errors raised on purpose; its text says what was found, what is allowed and what to do."""

    def __str__(self) -> str:
        """Return the text; of names that are none, such as bytes of file names, what they are."""
        return super().__str__().encode(errors="backslashreplace").decode()


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


class NoValueError(DataError):
    """Samples over which a metric has no value, as where they lack a class."""


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
    """Return the first line of what a library said, ended as a sentence; of a worker process of a loader, the last."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[-1 if lines[0].startswith("Caught ") and "Traceback (most recent call last):" in str(error) else 0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What drives a terminal, turns the direction of writing or is half a character."""


def printable(text: str) -> str:
    """Return text that can be written anywhere and does nothing to a terminal: all else stands as its escape.

    The escapes are those of JSON as well as of Python.
    """
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name closest in spelling to ``name``, or None where nothing is near."""
    spelled = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.5)
    return spelled[found[0]] if found else None


def unknown_name(kind: str, name: str, valid: Iterable[str], hint: str = "") -> str:
    """Return the sentence for a name that is not among the valid ones."""
    names = sorted(valid)
    return f"{kind} {name!r} is not known.{suggestion(name, names)} Allowed: {', '.join(names)}.{hint}"


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return the nearest valid name as a question that follows a sentence; empty where nothing is near."""
    guess = nearest(name, valid)
    return f" Did you mean {guess!r}?" if guess else ""


def options_problem(
    kind: str, name: str, function: Callable[..., Any], options: Mapping[str, Any], hidden: Collection[str]
) -> str | None:
    """Return why a component does not take options, as a sentence that lists those it takes, or None where it does.

    Args:
        kind: what it is, as it reads at the beginning of a sentence ("Pruner").
        name: its name.
        function: what is called with the options by keyword.
        options: the options.
        hidden: the parameters that are no options, because they are always given.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(**{**dict.fromkeys(hidden), **options})
    except TypeError as error:
        own = [key for key in signature.parameters if key not in hidden]
        takes = f"It takes {', '.join(own)}." if own else "It takes no options."
        return f"{kind} {name!r} cannot be built with these options: {error}. {takes}"
    return None
