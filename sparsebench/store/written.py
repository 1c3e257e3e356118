"""What is written down of a run: the records of its stages, and of what it was asked for.

Every field carries its unit in its name where it has one, and has a range; ``sparsebench.store.checks`` has the rest of
what must hold of a record.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sparsebench.store.environment import EnvironmentRecord
from sparsebench.store.fields import (
    FileName,
    Fraction,
    Key,
    LongText,
    NotNegative,
    RunName,
    Small,
    Text,
    Time,
    Whole,
)
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
class Failure:
    """Why a stage failed: exception type, its text, and the traceback."""

    error: Text
    message: LongText
    traceback: LongText


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage, done or failed. ``artifacts`` maps file names in the stage's directory to their SHA-256.

    ``seed`` is that of all random number generators of the stage; stages that build on a training have that of the
    training. ``built_on`` is the SHA-256 over the artifacts of the parent, as they were when this was made. Both are
    None in records of earlier versions.
    """

    stage: StageKind
    key: Key
    parent: Key | None
    settings: Mapping[str, Any]
    status: Literal["done", "failed"]
    attempt: Small
    started_at: Time
    seconds: NotNegative
    environment: EnvironmentRecord
    warnings: tuple[LongText, ...] = ()
    artifacts: Mapping[FileName, Key] = field(default_factory=dict)
    result: Result | None = None
    failure: Failure | None = None
    seed: Whole | None = None
    built_on: Key | None = None
    schema_version: Small = SCHEMA_VERSION


def pruning_in_short(pruner: str | None, threshold: float) -> str:
    """Return pruner and threshold as they are named everywhere: ``magnitude 0.9``, or ``dense``."""
    return f"{pruner} {threshold:g}" if threshold else "dense"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One operating point of the plan and the keys of its stages.

    ``validate`` and ``evaluate`` are evaluations, on the validation split and on the test set; the second is the key
    of the trial. ``not_offered`` is the reason why its backend does not offer its scheme; such a trial has no stages of
    its own.
    ``pruner`` is None at threshold 0, the dense control, which all pruners share. ``ancestors`` are the training stages
    that its own started from, the first of them first. ``calibration_batches`` is how many calibration may read at
    most, None where the scheme does not calibrate.
    """

    model: Text
    data: Text
    pruner: Text | None
    threshold: Fraction
    seed: Whole
    scheme: Text
    backend: Text
    train: Key
    calibration_batches: Small | None = None
    ancestors: tuple[Key, ...] = ()
    compress: Key | None = None
    validate: Key | None = None
    evaluate: Key | None = None
    measure: tuple[Key, ...] = ()
    not_offered: LongText | None = None

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

    name: RunName
    config: Mapping[str, Any]
    command: LongText
    sparsebench: Text
    trials: tuple[TrialRecord, ...]
    environment: EnvironmentRecord
    schema_version: Small = SCHEMA_VERSION


def stage_key(kind: StageKind, settings: Mapping[str, Any], parent: str | None) -> str:
    """Return the SHA-256 (64 hex digits) of a stage's settings, its parent's key and the schema version."""
    content = {"schema_version": SCHEMA_VERSION, "stage": kind, "parent": parent, "settings": settings}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def digest_of(record: StageRecord | None) -> str | None:
    """Return the SHA-256 over the artifacts of a stage; None without one."""
    if record is None:
        return None
    return hashlib.sha256(json.dumps(dict(record.artifacts), sort_keys=True).encode()).hexdigest()
