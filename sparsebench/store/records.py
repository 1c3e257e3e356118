"""The frozen record of each stage, and of what a run was asked for.

Every field carries its unit in its name where it has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sparsebench.store.results import Result

SCHEMA_VERSION = 2

StageKind = Literal["train", "compress", "evaluate", "measure", "sensitivity"]
STAGE_KINDS: tuple[StageKind, ...] = ("train", "compress", "evaluate", "measure")
"""The stages of a sweep, in their order; ``sensitivity`` is asked for by itself."""

PARENTS: Mapping[StageKind, StageKind] = {
    "train": "train",
    "compress": "train",
    "evaluate": "compress",
    "measure": "compress",
    "sensitivity": "train",
}
"""What kind of stage each kind builds on."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """What a record was made on. No host name, user name or path is kept."""

    cpu: str
    cpu_flags: tuple[str, ...]
    logical_cores: int
    memory_bytes: int
    gpu: str | None
    os: str
    python: str
    versions: Mapping[str, str]
    threads: int
    commit: str | None

    @property
    def machine(self) -> str:
        """The identity of the machine for timing: processor, cores, operating system, GPU."""
        return " / ".join(filter(None, (self.cpu, f"{self.logical_cores} cores", self.os, self.gpu)))


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a stage failed: exception type, its text, and the traceback."""

    error: str
    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage, done or failed. ``artifacts`` maps file names in the stage's directory to their SHA-256.

    ``seed`` is that of all random number generators of the stage; stages that build on a training have that of the
    training. ``built_on`` is the SHA-256 over the artifacts of the parent, as they were when this was made. Both are
    None in records of earlier versions.
    """

    stage: StageKind
    key: str
    parent: str | None
    settings: Mapping[str, Any]
    status: Literal["done", "failed"]
    attempt: int
    started_at: str
    seconds: float
    environment: EnvironmentRecord
    warnings: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    result: Result | None = None
    failure: Failure | None = None
    seed: int | None = None
    built_on: str | None = None
    schema_version: int = SCHEMA_VERSION


def pruning_in_short(pruner: str | None, threshold: float) -> str:
    """Return pruner and threshold as they are named everywhere: ``magnitude 0.9``, or ``dense``."""
    return f"{pruner} {threshold:g}" if threshold else "dense"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One operating point of the plan and the keys of its stages.

    ``not_offered`` is the reason why its backend does not offer its scheme; such a trial has no stages of its own.
    ``pruner`` is None at threshold 0, the dense control, which all pruners share. ``ancestors`` are the training stages
    that its own started from, the first of them first. ``calibration_batches`` is how many calibration may read at
    most, None where the scheme does not calibrate.
    """

    model: str
    data: str
    pruner: str | None
    threshold: float
    seed: int
    scheme: str
    backend: str
    train: str
    calibration_batches: int | None = None
    ancestors: tuple[str, ...] = ()
    compress: str | None = None
    evaluate: str | None = None
    measure: tuple[str, ...] = ()
    not_offered: str | None = None

    @property
    def pruning(self) -> str:
        """Pruner and threshold in short: ``magnitude 0.9``, or ``dense``."""
        return pruning_in_short(self.pruner, self.threshold)

    @property
    def label(self) -> str:
        """One line that names the trial, for progress and messages."""
        return f"{self.model} · {self.data} · {self.pruning} · {self.scheme} · {self.backend} · seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was asked for: its resolved config and all its trials."""

    name: str
    config: Mapping[str, Any]
    command: str
    sparsebench: str
    trials: tuple[TrialRecord, ...]
    environment: EnvironmentRecord
    schema_version: int = SCHEMA_VERSION
