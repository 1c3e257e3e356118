"""Timing the networks of a sweep together, in pairs, and what is recorded of it."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.statistics.verdicts import is_valid
from sparsebench.store.results import CompressResult
from sparsebench.store.run_directory import Store
from sparsebench.store.timings import MeasureResult, RatioResult, SessionResult
from sparsebench.timing.comparison import Comparison, Ratio, Timing, worst_conditions
from sparsebench.timing.machine import OtherWork
from sparsebench.timing.protocol import compare_variants
from sparsebench.timing.schedule import Settings
from sparsebench.timing.session import RoundRecord
from sparsebench.timing.variants import Built, Variant

SAMPLES = "samples.json"

KEPT_CALLS = 1000
"""At most so many latencies of single calls are kept of one network."""

# What a record of a session takes over from the comparison as it is.
_OF_SESSIONS = ("seed", "seconds", "stopped", "precision", "band", "in_process_because")


def run(
    stages: Sequence[Stage], bench: Workbench, hang_seconds: float
) -> tuple[dict[str, Outcome | Exception], tuple[str, ...]]:
    """Time the networks of ``measure`` stages of equal settings in one session.

    A network that cannot be timed has its error as its outcome, and the others are timed without it. A worker that
    stays at one network for longer than ``hang_seconds`` is ended.

    Returns:
        Of each stage, by its key, the outcome or why there is none; and what a reader of any of its records must know.

    Raises:
        SparsebenchError: where the baseline cannot be timed, or nothing can.
    """
    settings = stages[0].settings
    networks = _Networks(stages, bench)
    inputs = networks.inputs(settings["batch_size"])
    timing = Settings(
        **{name: settings[name] for name in ("threads", "seconds_cap", "precision", "band", "block_ms")},
        # Another order for each session, the same for the same one.
        seed=int(stages[0].key[:8], 16),
        workers=settings["workers"],
        hang_seconds=hang_seconds,
        footprint=settings["workers"],
    )
    outcomes: dict[str, Outcome | Exception] = {}
    failed: dict[str, Exception] = {}
    warnings: list[str] = []
    while left := [stage for stage in stages if stage.parent not in failed]:
        second = networks.second if networks.second not in failed else None
        names = {key: networks.names[key] for key in networks.names if key not in failed}
        try:
            variants = [Variant(name, networks.built(key), inputs) for key, name in names.items()]
            others = OtherWork()
            found = compare_variants(variants, names[networks.baseline], second and names[second], timing)
        except VariantError as error:
            key = networks.key_of(error.variant)
            if key == networks.baseline:
                raise _without_baseline(error) from error
            failed[key] = error
            if key == networks.second:
                warnings.append(f"Latency could not be compared with dense fp32 on eager: {error}")
            continue
        recorder = _Recorder(found, settings, networks, second, bench, others.read())
        outcomes |= {stage.key: recorder.outcome(stage) for stage in left}
        break
    outcomes |= {stage.key: failed[str(stage.parent)] for stage in stages if stage.parent in failed}
    return outcomes, tuple(warnings)


def _without_baseline(error: Exception) -> SparsebenchError:
    return SparsebenchError(f"Nothing could be timed, for the baseline failed: {error}")


class _Networks:
    """The networks of a session: those of its stages, and the baselines.

    Attributes:
        names: what each is called, by the key of the stage that compressed it.
        baseline: key of the first baseline.
        second: key of the second baseline, dense fp32 on eager; None where there is none.
        baselines: what reports call the baselines, by key.
    """

    def __init__(self, stages: Sequence[Stage], bench: Workbench) -> None:
        self._bench = bench
        baseline, eager = (stages[0].settings[name] for name in ("baseline", "eager_baseline"))
        self.baseline: str = baseline["compress"]
        self.second: str | None = eager["compress"] if eager else None
        self.baselines: dict[str, str] = {one["compress"]: one["network"] for one in (baseline, eager) if one}
        self.names = {key: f"{network} (baseline)" for key, network in self.baselines.items()}
        self.names |= {str(stage.parent): stage.label for stage in stages}

    def key_of(self, name: str) -> str:
        """Return the key of the network called so; the second copy of the baseline is the baseline."""
        return next((key for key, own in self.names.items() if own == name), self.baseline)

    def inputs(self, batch_size: int) -> tuple[Any, ...]:
        """Return what all networks of the session are fed: training samples, as the baseline's trainer loads them."""
        try:
            self.built(self.baseline)
            return (self._bench.inputs(self.baseline, batch_size),)
        except SparsebenchError as error:
            raise _without_baseline(error) from error

    def built(self, key: str) -> Built:
        """Return how a worker builds a network; one that was not compressed is an error."""
        store = self._bench.store
        record = store.read("compress", key)
        result = record.result if record else None
        if not isinstance(result, CompressResult):
            because = record.failure.message if record and record.failure else "its stage has not run"
            raise VariantError(self.names[key], f"{self.names[key]} was not compressed: {because}")
        root = str(store.root)
        return Built(partial(restored, root, key), partial(specialised, root, key), result.size.payload_bytes)


def restored(root: str, key: str) -> nn.Module:
    """Return the network of compress stage ``key`` in the run directory ``root``, built anew; runs in a worker."""
    return _workbench(root).restore(key)


def specialised(root: str, key: str, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
    """Return that network, made for exactly these inputs and so many threads."""
    return _workbench(root).specialise(key, network, inputs, threads)


@lru_cache(maxsize=1)
def _workbench(root: str) -> Workbench:
    return Workbench(Store(Path(root), writable=False), device="cpu")


class _Recorder:
    def __init__(
        self,
        found: Comparison,
        settings: Mapping[str, Any],
        networks: _Networks,
        second: str | None,
        bench: Workbench,
        foreign_cores: float | None,
    ) -> None:
        self._found, self._settings, self._networks, self._bench = found, settings, networks, bench
        self._second, self._foreign_cores = second, foreign_cores
        self._id = uuid.uuid4().hex[:12]

    def outcome(self, stage: Stage) -> Outcome:
        key = str(stage.parent)
        timing = self._found[self._networks.names[key]]
        samples = json.dumps(self._samples(timing), separators=(",", ":"), sort_keys=True) + "\n"
        digest = self._bench.save("measure", stage.key, SAMPLES, samples.encode())
        result = MeasureResult(
            **{name: self._settings[name] for name in ("protocol", "batch_size", "threads")},
            **{name: getattr(timing, name) for name in ("calls", "calls_together", "median_ms", "p95_ms", "p99_ms")},
            against=self._ratio(timing.paired, self._networks.baseline),
            against_eager=self._ratio(timing.second, self._second) if timing.second and self._second else None,
            session=self._session(timing),
            peak_memory_bytes=timing.peak_bytes,
        )
        return Outcome(result=result, artifacts={SAMPLES: digest})

    def _ratio(self, ratio: Ratio, baseline: str) -> RatioResult:
        return RatioResult(baseline=self._networks.baselines[baseline], compress=baseline, **asdict(ratio))

    def _rounds(self, timing: Timing) -> tuple[RoundRecord, ...]:
        return tuple(one for one in self._found.rounds if one.group == timing.group)

    def _session(self, timing: Timing) -> SessionResult:
        """Return the session of a network: where they did not fit into memory together, that of its group."""
        found, rounds = self._found, self._rounds(timing)
        control = found.controls[timing.group]
        conditions = {name: float(value) for name, value in worst_conditions(rounds).items()}
        if self._foreign_cores is not None:
            conditions["foreign_cores"] = self._foreign_cores
        return SessionResult(
            id=f"{self._id}-{timing.group}",
            **{name: getattr(found, name) for name in _OF_SESSIONS},
            networks=len({name for name in rounds[0].order if name != control.name}),
            rounds=len(rounds),
            generations=len({one.generation for one in rounds}),
            **{f"control_{part}": getattr(control, part) for part in ("ratio", "low", "high")},
            valid=is_valid(control.low, control.high, found.band),
            conditions=conditions,
        )

    def _samples(self, timing: Timing) -> dict[str, Any]:
        """Return the raw samples of one network: block medians round by round, and some of its single calls."""
        names, rounds = self._networks.names, self._rounds(timing)
        baseline = self._found.baseline
        second = names[self._second] if self._second and names[self._second] not in (baseline, timing.name) else None
        calls = np.concatenate([taken for one in rounds for taken in _own(one.order, one.calls_ms, timing.name)])
        kept = np.linspace(0, len(calls) - 1, min(len(calls), KEPT_CALLS)).round().astype(int)
        listed = []
        for one in rounds:
            entry = {
                "generation": one.generation,
                "cores": one.cores,
                "conditions": {name: value for name, value in vars(one.conditions).items() if value is not None},
                "blocks_ms": _own(one.order, one.latencies_ms, timing.name),
            }
            if timing.name != baseline:
                entry["baseline_ms"] = _neighbours(one, timing.name, baseline)
            if second:
                entry["eager_ms"] = _own(one.order, one.latencies_ms, second)
                entry["eager_baseline_ms"] = _neighbours(one, second, baseline)
            listed.append(entry)
        return {
            "network": timing.name,
            "baseline": self._networks.baselines[self._networks.baseline],
            "calls_together": timing.calls_together,
            "calls_ms": [float(f"{call:.6g}") for call in calls[kept]],
            "rounds": listed,
        }


def _own(order: Sequence[str], values: Sequence[Any], name: str) -> list[Any]:
    return [value for owner, value in zip(order, values, strict=True) if owner == name]


def _neighbours(one: RoundRecord, name: str, baseline: str) -> list[float]:
    """Return the baseline's blocks before and after that of ``name``."""
    place = one.order.index(name)
    before = max(at for at in range(place) if one.order[at] == baseline)
    after = one.order.index(baseline, place)
    return [one.latencies_ms[before], one.latencies_ms[after]]
