"""Every exception and warning of the package. An error is a sentence with its remedy."""

from collections.abc import Sequence


class SparsebenchError(Exception):
    """Base of all errors raised on purpose; its text says what was found, what is allowed and what to do."""


class ProblemsError(SparsebenchError):
    """Several problems found in one check, reported together.

    Attributes:
        problems: one sentence each, in the order in which they were found.
    """

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in self.problems)]))


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
    """A record that is no record any more: it was cut off, or something else was written over it."""


class RecordSchemaError(StoreError):
    """A record written under another schema version; it is refused, never misread."""


class NoEffectWarning(UserWarning):
    """Something was asked for and changed nothing: nothing was pruned, or nothing was quantized."""


class UnreachedWarning(UserWarning):
    """What was asked for was reached only nearly; the text says what was reached instead, and why."""


def reason(error: Exception) -> str:
    """Return the first line of what a library said, ended as a sentence."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if line.endswith((".", "!", "?")) else f"{line}."
