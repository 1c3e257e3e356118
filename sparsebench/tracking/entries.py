"""What an experiment tracker is told of a run: names and texts and numbers, of the sweep and of each trial."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sparsebench.points.baselines import SeedResult
from sparsebench.points.points import sections
from sparsebench.store.records import StageRecord
from sparsebench.store.run import Run, TrialResult, flat_row

IDENTITY = ("model", "data", "pruner", "threshold", "seed", "scheme", "backend", "calibration_batches_asked")
"""Columns that tell trials apart; parameters in MLflow."""

TEXTS = ("status", "key", "reason", "latency_baseline", "timing_session", "timing_valid")
"""Columns that are tags in MLflow; all others are metrics."""

MOST_TEXT = 4000
"""Characters of a tag or a parameter; every store of MLflow takes so many."""


@dataclass(frozen=True)
class Entry:
    """What is written of one run of MLflow; ``key`` says which it is, whatever else changes."""

    key: str
    kind: str
    name: str
    status: str
    started_ms: int
    ended_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of all that is written."""
        content = [self.status, dict(self.params), dict(self.metrics), dict(self.tags)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sweep_entry(run: Run) -> Entry:
    """Return what is written of the sweep as a whole."""
    record = run.record
    stages = [stage for trial in run.trials for stage in (*trial.ancestors, *trial.stages)]
    started, ended = _times(stages)
    statuses = [trial.status for trial in run.trials]
    tags = {
        "sparsebench.version": record.sparsebench,
        "sparsebench.command": record.command,
        "sparsebench.machine": record.environment.machine,
        "sparsebench.commit": record.environment.commit or "",
        **{f"version.{name}": version for name, version in record.environment.versions.items()},
    }
    return Entry(
        key=f"run {record.name}",
        kind="sweep",
        name=record.name,
        status="FAILED" if "failed" in statuses else "RUNNING" if "pending" in statuses else "FINISHED",
        started_ms=started,
        ended_ms=ended,
        params={},
        metrics={f"trials_{s.replace(' ', '_')}": float(statuses.count(s)) for s in sorted(set(statuses))},
        tags={_name(name): value[:MOST_TEXT] for name, value in tags.items() if value},
    )


def trial_entries(run: Run) -> Iterator[Entry]:
    """Yield the trials that were done or failed, each once."""
    compared = {id(seed.trial): seed for section in sections(run) for point in section.points for seed in point.seeds}
    for trial in run.trials:
        if trial.status in ("done", "failed") and trial.trial.evaluate:
            yield _trial_entry(trial, compared.get(id(trial)))


def _trial_entry(trial: TrialResult, compared: SeedResult | None) -> Entry:
    row = flat_row(trial)
    started, ended = _times([*trial.ancestors, *trial.stages])
    settings = trial.train.settings if trial.train else {}
    params = {
        **{name: row[name] for name in IDENTITY if row[name] is not None},
        **{f"train.{name}": value for name, value in _flat(settings.get("train") or {})},
        **{f"prune.{name}": value for name, value in _flat(settings.get("prune") or {})},
    }
    metrics = {**{name: value for name, value in row.items() if name not in (*IDENTITY, *TEXTS)}, **_others(trial)}
    tags = {name: row[name] for name in TEXTS if row[name] is not None}
    if compared and compared.drop:
        metrics |= dict(zip(("drop_pp", "drop_low_pp", "drop_high_pp"), compared.drop[:3], strict=True))
    for timing in compared.timings if compared else ():
        tags[f"verdict.batch_{timing.setting[0]}_threads_{timing.setting[1]}"] = timing.own.said
    return Entry(
        key=str(trial.trial.evaluate),
        kind="trial",
        name=trial.trial.label,
        status="FINISHED" if trial.status == "done" else "FAILED",
        started_ms=started,
        ended_ms=ended,
        params={_name(name): str(value)[:MOST_TEXT] for name, value in params.items()},
        metrics={_name(name): float(value) for name, value in metrics.items() if _is_number(value)},
        tags={_name(f"sparsebench.{name}"): str(value)[:MOST_TEXT] for name, value in tags.items()},
    )


def _others(trial: TrialResult) -> dict[str, float]:
    """Return the latencies beyond the first batch size and number of threads, which has columns of its own."""
    return {
        f"{name}.batch_{m.batch_size}_threads_{m.threads}": value
        for m in trial.measured[1:]
        for name, value in (
            ("latency_median_ms", m.median_ms),
            ("latency_p95_ms", m.p95_ms),
            ("latency_ratio", m.against.ratio),
        )
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _times(stages: list[StageRecord]) -> tuple[int, int]:
    """Return when the first stage began and the last ended, in milliseconds since 1970."""
    begun = [datetime.fromisoformat(stage.started_at).timestamp() for stage in stages]
    ended = [start + stage.seconds for start, stage in zip(begun, stages, strict=True)]
    return round(1000 * min(begun, default=0.0)), round(1000 * max(ended, default=0.0))


def _name(text: str) -> str:
    """Return ``text`` with the characters alone that MLflow takes in names."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in text)[:250]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
