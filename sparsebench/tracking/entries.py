"""What an experiment tracker is told of a run: names and texts and numbers, of the sweep and of each trial."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sparsebench.points.baselines import SeedResult
from sparsebench.points.points import sections
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
    record, statuses = run.record, Counter(trial.status for trial in run.trials)
    tags = {
        "sparsebench.version": record.sparsebench,
        "sparsebench.command": record.command,
        "sparsebench.machine": record.environment.machine,
        "sparsebench.commit": record.environment.commit,
        **{f"version.{name}": version for name, version in record.environment.versions.items()},
    }
    status = "FAILED" if "failed" in statuses else "RUNNING" if "pending" in statuses else "FINISHED"
    metrics = {f"trials_{status.replace(' ', '_')}": count for status, count in statuses.items()}
    return _entry(f"run {record.name}", "sweep", record.name, status, run.trials, {}, metrics, tags)


def trial_entries(run: Run) -> Iterator[Entry]:
    """Yield the trials that were done or failed, each once."""
    compared = {id(seed.trial): seed for section in sections(run) for point in section.points for seed in point.seeds}
    for trial in run.trials:
        if trial.status in ("done", "failed") and trial.trial.evaluate:
            yield _trial_entry(trial, compared.get(id(trial)))


def _trial_entry(trial: TrialResult, compared: SeedResult | None) -> Entry:
    row = flat_row(trial)
    settings = trial.train.settings if trial.train else {}
    params = {name: row[name] for name in IDENTITY if row[name] is not None}
    for part in ("train", "prune"):
        params |= _flat(settings.get(part) or {}, f"{part}.")
    metrics = {name: value for name, value in row.items() if name not in (*IDENTITY, *TEXTS)}
    # The latencies beyond the first batch size and number of threads, which has columns of its own.
    for m in trial.measured[1:]:
        latencies = {"latency_median_ms": m.median_ms, "latency_p95_ms": m.p95_ms, "latency_ratio": m.against.ratio}
        metrics |= {f"{name}.batch_{m.batch_size}_threads_{m.threads}": value for name, value in latencies.items()}
    tags = {f"sparsebench.{name}": row[name] for name in TEXTS}
    if compared and compared.drop:
        metrics |= dict(zip(("drop_pp", "drop_low_pp", "drop_high_pp"), compared.drop[:3], strict=True))
    for timing in compared.timings if compared else ():
        tags[f"sparsebench.verdict.batch_{timing.setting[0]}_threads_{timing.setting[1]}"] = timing.own.said
    status = "FINISHED" if trial.status == "done" else "FAILED"
    return _entry(str(trial.trial.evaluate), "trial", trial.trial.label, status, (trial,), params, metrics, tags)


def _entry(
    key: str,
    kind: str,
    name: str,
    status: str,
    trials: Iterable[TrialResult],
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    tags: Mapping[str, Any],
) -> Entry:
    """Return an entry of what MLflow takes, from when the first stage of the trials began until the last ended."""
    stages = [stage for trial in trials for stage in (*trial.ancestors, *trial.stages)]
    begun = [datetime.fromisoformat(stage.started_at).timestamp() for stage in stages]
    ended = [start + stage.seconds for start, stage in zip(begun, stages, strict=True)]
    return Entry(
        key=key,
        kind=kind,
        name=name,
        status=status,
        started_ms=round(1000 * min(begun, default=0.0)),
        ended_ms=round(1000 * max(ended, default=0.0)),
        params={_name(name): str(value)[:MOST_TEXT] for name, value in params.items()},
        metrics={_name(name): float(value) for name, value in metrics.items() if _is_number(value)},
        tags={_name(name): str(value)[:MOST_TEXT] for name, value in tags.items() if value not in (None, "")},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(text: str) -> str:
    """Return ``text`` with the characters alone that MLflow takes in names."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in text)[:250]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
