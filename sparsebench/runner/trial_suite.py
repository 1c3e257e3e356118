"""The trials whose networks a test suite goes over: those of a run that is there, or of a sweep that is run for it.

Nothing here imports torch before a network is asked for, so that tests are collected in a blink.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.config import load_config
from sparsebench.errors import SparsebenchError
from sparsebench.registry import SCHEMES
from sparsebench.runner.graph import StageStatus
from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.sequencer import plan_sweep, run_sweep
from sparsebench.runner.watcher import VERBS, Watcher
from sparsebench.store.records import Run, StageRecord, TrialRecord, TrialResult, failure_line
from sparsebench.store.results import EpochRecord
from sparsebench.store.run_directory import Store, load_run, read_run
from sparsebench.trust import require_trusted
from sparsebench.wording.text import counted

if TYPE_CHECKING:
    from sparsebench.runner.stages import Workbench


EVERY_SECONDS = 10.0
"""So often at most a test session is told how far its sweep is."""

_MOST = 2**20
"""Samples in one call, or threads, that are taken from a record."""


class TrialSuite:
    """The sweep of a test suite: which trials it has, and its run once it is there.

    Args:
        run_dir: a run that is there; None for a sweep that is run.
        source: the config of that sweep, as ``load_config`` takes it; None where nobody named one.
        wanted: the points asked for, by their axis: thresholds, schemes, backends and seeds. None where one was left
            alone.
        runs_dir: returns where the run directory of the sweep lies, or is made.
        announce: is told what is being run, for a sweep may take long.

    Raises:
        SparsebenchError: where the config cannot be used.
    """

    def __init__(
        self,
        run_dir: Path | None,
        source: Any,
        wanted: Mapping[str, Sequence[Any] | None],
        runs_dir: Callable[[], Path],
        announce: Callable[[str], None],
    ) -> None:
        self._run_dir, self._runs_dir, self._announce = run_dir, runs_dir, announce
        self._wanted = {axis: values for axis, values in wanted.items() if values is not None}
        if "schemes" in self._wanted:
            self._wanted["schemes"] = tuple(map(SCHEMES.canonical, self._wanted["schemes"]))
        self._overrides = [f"{axis}={_override(values)}" for axis, values in self._wanted.items()]
        # Of the default sweep, which is nobody's own, one seed will do.
        one_seed = ["seeds=0"] if source is None and "seeds" not in self._wanted else []
        asked = run_dir is None and (source is not None or self._overrides)
        self._config = load_config(source, [*self._overrides, *one_seed]) if asked else None
        # Tests are called as in the whole sweep, whatever is chosen of it: their benchmarks are compared by name.
        self._seeds = len(load_config(source).seeds) if asked and source is not None else 1

    @cached_property
    def trials(self) -> dict[str, TrialRecord]:
        """The trials by the name that their tests bear; none where nothing at all was asked for.

        Raises:
            SparsebenchError: where there is no such run, or nothing of it is wanted.
        """
        if self._run_dir is None:
            trials = plan_sweep(self._config).trials if self._config else ()
            return {_name(trial, trials, self._seeds > 1): trial for trial in trials}
        every = read_run(self._run_dir).trials
        found = {_name(trial, every): trial for trial in every if self._is_wanted(trial)}
        if not found:
            there = "; ".join(
                f"{axis} {', '.join(sorted({str(getattr(trial, axis)) for trial in every}))}"
                for axis in ("threshold", "scheme", "backend", "seed")
            )
            raise SparsebenchError(f"{self._run_dir} has no trial with {', '.join(self._overrides)}. It has {there}.")
        return found

    @cached_property
    def root(self) -> Path:
        """The run directory."""
        if self._config is None:
            return self._run_dir or Path()
        return self._runs_dir() / self._config.name

    @cached_property
    def run(self) -> Run:
        """The finished run; what is missing of it is run first."""
        if self._config is None:
            return load_run(self.root)
        watcher = _Announcer(self.root, self._announce)
        return run_sweep(self._config, runs_dir=self.root.parent, watcher=watcher, command="pytest")

    @cached_property
    def workbench(self) -> "Workbench":
        """Where networks are brought back."""
        from sparsebench.runner.stages import Workbench

        return Workbench(Store(self.root, writable=False), device="cpu")

    def record(self, name: str, run: Run) -> TrialResult:
        """Return the trial of a test with the records of its stages."""
        wanted = self.trials[name]
        return next(result for result in run.trials if result.trial.label == wanted.label)

    def require_trusted(self, record: TrialResult, *, trust: bool) -> None:
        """Refuse the network of a trial of a run that is there, where it needs code that nobody has named.

        A sweep that is run is named by its config, and so is its code.

        Raises:
            SparsebenchError: with what its records name.
        """
        if self._config is None:
            require_trusted(record.train.settings if record.train else {}, trust, "give --sparsebench-trust")

    def measured_with(self, key: str) -> int:
        """Return the first of the ``batch_sizes`` or ``threads`` with which the run was measured, else 1."""
        measured = self.run.record.config.get("measure")
        found = measured.get(key) if isinstance(measured, Mapping) else None
        first = next(iter(found), 1) if isinstance(found, list | tuple) else 1
        return first if isinstance(first, int) and 1 <= first <= _MOST else 1

    def _is_wanted(self, trial: TrialRecord) -> bool:
        return all(getattr(trial, axis.removesuffix("s")) in values for axis, values in self._wanted.items())


def _override(values: Sequence[Any]) -> str:
    """Return values as an override of a config; numbers as a list, for one alone is no list of seeds."""
    text = ",".join(map(str, values))
    return text if isinstance(values[0], str) else f"[{text}]"


def _name(trial: TrialRecord, every: Sequence[TrialRecord], several_seeds: bool = False) -> str:
    """Return what the test of a trial is called; what all trials of its sweep have in common is left out."""
    pruned = "dense" if trial.pruner is None else f"{trial.pruner}-{trial.threshold:g}"
    parts = [getattr(trial, name) for name in ("model", "data") if len({getattr(one, name) for one in every}) > 1]
    parts += [pruned, trial.scheme, trial.backend]
    if several_seeds or len({one.seed for one in every}) > 1:
        parts.append(f"seed{trial.seed}")
    return "-".join(parts).replace(" ", "")


class _Announcer(Watcher):
    """Tells a test session how its sweep goes on: what is about to take long at once, all else now and then."""

    def __init__(
        self, root: Path, announce: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root, self._announce, self._clock = root, announce, clock
        self._done = self._total = 0
        self._told = self._clock()

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        left = sum(one == "pending" for one in status.values())
        self._total, self._done = len(plan.stages), len(plan.stages) - left
        if left:
            self._announce(f"\nsparsebench: running {left} of {self._total} stages in {self._root}")

    def together(self, stages: Sequence[Stage]) -> None:
        batch, most = stages[0].settings["batch_size"], stages[0].settings["seconds_cap"]
        self._say(f"timing {counted(len(stages), 'network')} together at batch {batch}, about {most:g} s")

    def epoch(self, stage: Stage, epoch: EpochRecord, epochs: int) -> None:
        self._now_and_then(f"training {stage.label}, epoch {epoch.epoch} of {epochs}")

    def timed(self, stages: Sequence[Stage], text: str) -> None:
        self._now_and_then(f"timing {counted(len(stages), 'network')}, {text}")

    def noted(self, text: str) -> None:
        self._say(text)

    def started(self, stage: Stage) -> None:
        if stage.kind != "measure":
            self._now_and_then(f"{VERBS[stage.kind]} {stage.label}")

    def finished(self, stage: Stage, record: StageRecord) -> None:
        self._ended()
        if record.status == "failed":
            self._say(f"{stage}: {failure_line(record)}")

    def skipped(self, stage: Stage) -> None:
        del stage
        self._ended()

    def _ended(self) -> None:
        self._done += 1
        if self._done == self._total:
            self._say(f"all {self._total} stages have ended")

    def _now_and_then(self, text: str) -> None:
        if self._clock() - self._told >= EVERY_SECONDS:
            self._say(f"{self._done} of {self._total} stages done, {text}")

    def _say(self, text: str) -> None:
        self._told = self._clock()
        self._announce(f"sparsebench: {text}")
