"""A run's records as runs of MLflow, for those who compare all their experiments there."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sparsebench.errors import SparsebenchError
from sparsebench.points.baselines import SeedResult
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.store.latencies import Latencies, latency_columns
from sparsebench.store.records import Run, TrialResult, flat_row, latencies_of
from sparsebench.store.scratch import scratch
from sparsebench.wording.text import flat

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

STORE = "mlruns"
"""The folder of the file store that is written where nothing else is named."""

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of stores that MLflow reaches through SQLAlchemy."""

BATCH = 90
"""Entries of one request; MLflow takes 100 parameters or tags."""

IDENTITY = ("model", "data", "pruner", "threshold", "seed", "scheme", "backend", "calibration_batches_asked")
"""Columns that tell trials apart; parameters in MLflow."""

OF_A_METRIC = ("metric", "unit", "higher_is_better")
"""Columns that say what a value means where it is no accuracy; they are tags too."""

TEXTS = (
    *("status", "key", "reason", "latency_baseline", "verdict", "verdict_eager"),
    *("cache", "timing_state", "timing_session", "fallback_kernels"),
)
"""Columns that are tags in MLflow; all others are metrics."""

EACH_SETTING = (
    *("latency_ms", "latency_p95_ms", "speedup", "speedup_low", "speedup_high"),
    *("speedup_eager", "speedup_eager_low", "speedup_eager_high"),
)
"""Columns that are metrics of every batch size and number of threads, and not of the first alone."""

MOST_TEXT = 4000
"""Characters of a tag or a parameter; every store of MLflow takes so many."""


@dataclass(frozen=True)
class Tracked:
    """What was written, in trials: how many are new, were brought up to date, and were there as they are."""

    uri: str
    experiment: str
    created: int
    updated: int
    unchanged: int


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
        content = json.dumps([self.status, dict(self.params), dict(self.metrics), dict(self.tags)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def track_in_mlflow(run: Run, *, uri: str | None = None, experiment: str | None = None) -> Tracked:
    """Write the records of a run as runs of MLflow: one for the sweep, and below it one for each trial.

    A trial is known by the key of its evaluation, which says all it depends on: what is there already is not written
    again, what has changed since (a failed trial that was done in the end) is brought up to date, and other settings
    make other runs. Trials that have not been run or are not offered are left out; the report, an artifact of the
    sweep's run, lists them. MLflow's telemetry is turned off.

    Args:
        run: the records.
        uri: of the tracking store; by default what MLFLOW_TRACKING_URI says, or else the folder ``mlruns`` here. A path
            is a file store.
        experiment: its name; ``sparsebench/<name of the run>`` by default.

    Raises:
        SparsebenchError: where MLflow is not installed, or the store cannot be written.
    """
    if find_spec("mlflow") is None:
        raise SparsebenchError("MLflow is not installed. Install it with pip install 'sparsebench[mlflow]'.")
    store = uri or os.environ.get("MLFLOW_TRACKING_URI") or STORE
    if len(urlsplit(store).scheme) < 2:  # A path; the scheme of C:\mlruns is a drive.
        store = Path(store).absolute().as_uri()
    if urlsplit(store).scheme.partition("+")[0] in DATABASES and find_spec("sqlalchemy") is None:
        raise SparsebenchError(
            f"{store} is a database, for which MLflow needs its full package: pip install mlflow. The extra "
            "sparsebench[mlflow] writes file stores and to servers."
        )
    _prepare(store)
    name = experiment or f"sparsebench/{run.record.name}"
    with _explained(store):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=store)
        writer = _Writer(client, _experiment(client, name))
        parent, _ = writer.write(sweep_entry(run), {})
        entries = list(trial_entries(run))
        done = [writer.write(entry, {"mlflow.parentRunId": parent})[1] for entry in entries]
        writer.attach(parent, run, [entry.digest for entry in entries])
    return Tracked(store, name, done.count("created"), done.count("updated"), done.count("unchanged"))


def _prepare(store: str) -> None:
    """Say to MLflow, before it is imported, what it only reads from the environment."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if store.startswith("file:"):
        # It maintains file stores and develops them no further, and refuses them unless it is asked for them.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")


@contextmanager
def _explained(store: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise SparsebenchError(f"The MLflow store {store} cannot be written: {' '.join(str(error).split())}") from error


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise SparsebenchError(
            f"The experiment {name!r} was deleted in MLflow. Restore it there, or name another with --experiment."
        )
    return str(found.experiment_id)


class _Writer:
    """Writes entries to one experiment; what is there already is found by the tag that holds its key."""

    def __init__(self, client: "MlflowClient", experiment_id: str) -> None:
        self._client, self._experiment_id = client, experiment_id
        self._there = {found.data.tags["sparsebench.key"]: found for found in self._search()}

    def _search(self) -> Iterator["MlflowRun"]:
        page = None
        while page is None or page.token:
            page = self._client.search_runs(
                [self._experiment_id],
                "tags.`sparsebench.key` LIKE '%'",
                max_results=1000,
                page_token=None if page is None else page.token,
            )
            yield from page

    def write(self, entry: Entry, tags: Mapping[str, str]) -> tuple[str, str]:
        """Write an entry, unless it is there as it is; return the run's id and what was done."""
        found, said = self._there.get(entry.key), "updated"
        if found is not None and found.data.tags.get("sparsebench.digest") == entry.digest:
            return str(found.info.run_id), "unchanged"
        if found is None:
            said, identity = "created", {"sparsebench.key": entry.key, "sparsebench.kind": entry.kind, **tags}
            found = self._client.create_run(
                self._experiment_id, start_time=entry.started_ms, tags=identity, run_name=entry.name
            )
        self._log(str(found.info.run_id), entry)
        return str(found.info.run_id), said

    def _log(self, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(name, value, entry.ended_ms, 0) for name, value in entry.metrics.items()]
        params = [Param(name, value) for name, value in entry.params.items()]
        for start in range(0, max(len(metrics), len(params)), BATCH):
            part = slice(start, start + BATCH)
            self._client.log_batch(run_id, metrics=metrics[part], params=params[part])
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in entry.tags.items()])
        self._client.set_terminated(run_id, entry.status, entry.ended_ms)
        # The digest comes last: what was interrupted before is written again.
        self._client.set_tag(run_id, "sparsebench.digest", entry.digest)

    def attach(self, run_id: str, run: Run, digests: list[str]) -> None:
        """Write the report as artifacts, unless the trials are the same as when it was written last."""
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        if self._client.get_run(run_id).data.tags.get("sparsebench.report") == digest:
            return
        with scratch() as folder:
            write_report(run, folder / "report")
            self._client.log_artifacts(run_id, str(folder))
        self._client.set_tag(run_id, "sparsebench.report", digest)


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
    latencies = latencies_of(run.trials)
    for trial in run.trials:
        if trial.status in ("done", "failed") and trial.trial.evaluate:
            yield _trial_entry(trial, compared.get(id(trial)), latencies)


def _trial_entry(trial: TrialResult, compared: SeedResult | None, latencies: Latencies) -> Entry:
    row = flat_row(trial, latencies)
    settings = trial.train.settings if trial.train else {}
    params = {name: row[name] for name in IDENTITY if row[name] is not None}
    for part in ("train", "prune"):
        params |= flat(settings.get(part) or {}, f"{part}.")
    of_metric = [name for name in OF_A_METRIC if name in row]
    metrics = {name: value for name, value in row.items() if name not in (*IDENTITY, *TEXTS, *of_metric)}
    # The latencies beyond the first batch size and number of threads, which has columns of its own.
    for machine, m in trial.timed[1:]:
        columns = latency_columns(m, latencies.ms(machine, m), trial.trial.compress)
        metrics |= {f"{name}.batch_{m.batch_size}_threads_{m.threads}": columns[name] for name in EACH_SETTING}
    tags = {f"sparsebench.{name}": str(row[name]) if name in of_metric else row[name] for name in (*TEXTS, *of_metric)}
    if compared and compared.drop:
        lost = compared.drop
        end = lost.scale.suffix
        metrics |= {f"drop{end}": lost.loss, f"drop_low{end}": lost.low, f"drop_high{end}": lost.high}
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
    stages = [stage for trial in trials for stage in trial.records]
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
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in text)[:250]
    # File stores make files of names, and refuse those that lead elsewhere.
    return "/".join(part if part.strip(". ") else "_" for part in name.split("/"))
