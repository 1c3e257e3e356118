"""The stages of a run, each with a key that says all it depends on, and the trials made of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparsebench.store.records import StageKind, TrialRecord


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One unit of work. Two stages with the same key have the same result (timing aside) and are run once.

    ``measure`` stages of equal settings are timed together; ``baselines`` are the keys of the compress stages whose
    networks they are compared with.
    """

    kind: StageKind
    key: str
    parent: str | None
    settings: Mapping[str, Any]
    label: str

    def __str__(self) -> str:
        return f"{self.kind} {self.label}"

    @property
    def baselines(self) -> tuple[str, ...]:
        """Keys of the compress stages that this one needs beside its parent."""
        named = (self.settings.get(name) for name in ("baseline", "eager_baseline"))
        return tuple(dict.fromkeys(network["compress"] for network in named if network))

    @property
    def session(self) -> str:
        """What stages that are timed together have in common."""
        return json.dumps(self.settings, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages in an order in which each comes after its parent and its baselines, and the trials made of them."""

    stages: tuple[Stage, ...]
    trials: tuple[TrialRecord, ...]


def missing_baselines(plan: Plan) -> Iterator[str]:
    """Yield, for each network whose trials have no dense fp32 one beside them, what its report will lack."""
    beside: dict[tuple[str, str, str], list[TrialRecord]] = {}
    for trial in plan.trials:
        beside.setdefault((trial.model, trial.data, trial.backend), []).append(trial)
    for (model, data, backend), trials in beside.items():
        if not any(trial.threshold == 0 and trial.scheme == "fp32" for trial in trials):
            yield (
                f"{model} on {data}, {backend}: no trial is dense fp32, so the report has no drops in accuracy there. "
                'Add 0 to thresholds and "fp32" to schemes.'
            )


def training_of(stage: Stage, stages: Mapping[str, Stage]) -> str:
    """Return the key of the training stage that a stage builds on, or is; ``stages`` are those of the plan by key."""
    while stage.kind != "train":
        stage = stages[str(stage.parent)]
    return stage.key
