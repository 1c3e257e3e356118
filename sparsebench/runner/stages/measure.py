"""Timing the networks of a sweep together, in pairs, and what is recorded of it."""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.runner.facts import EAGER
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.workbench import Outcome, Workbench
from sparsebench.store.results import CompressResult
from sparsebench.store.run_directory import Store
from sparsebench.store.timings import ControlResult, MeasureResult, SessionResult, SpeedupResult
from sparsebench.timing.comparison import Comparison, Speedup, Timing, copies_of, worst_conditions
from sparsebench.timing.kernels import depends_on_values, fallback_kernels, operators
from sparsebench.timing.machine import OtherWork
from sparsebench.timing.protocol import compare_variants
from sparsebench.timing.schedule import Settings, Step
from sparsebench.timing.session import PROCESSES, RoundRecord
from sparsebench.timing.variants import Built, Variant

SAMPLES = "samples.json"

KEPT_CALLS = 1000
"""At most so many latencies of single calls are kept of one network."""

# What a record of a session takes over from the comparison as it is.
_OF_SESSIONS = ("seed", "seconds", "stopped", "precision", "band", "in_process_because")


def run(
    stages: Sequence[Stage], bench: Workbench, hang_seconds: float, watch: Callable[[Step], None] | None = None
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
        **{name: settings[name] for name in ("threads", "seconds_cap", "precision", "band", "block_ms", "cache")},
        # Another order for each session, the same for the same one.
        seed=int(stages[0].key[:8], 16),
        workers=settings["workers"],
        hang_seconds=hang_seconds,
        footprint=settings["workers"],
        watch=watch,
        prepare=bench.objects_of(networks.baseline),
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
            alike = networks.alike(inputs) & {*names.values()}
            found = compare_variants(variants, names[networks.baseline], second and names[second], timing, alike)
        except VariantError as error:
            key = networks.key_of(error.variant)
            if key == networks.baseline:
                raise _without_baseline(error) from error
            failed[key] = error
            if key == networks.second:
                warnings.append(f"Latency could not be compared with dense fp32 on eager: {error}")
            continue
        recorder = _Recorder(found, settings, networks, second, bench, inputs, others.read())
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

    def alike(self, inputs: tuple[Any, ...]) -> frozenset[str]:
        """Return the names of networks that run the kernels of the baseline: fp32, and of the same shapes.

        Zeros that a mask left change no kernel, so that such a network takes as long as the dense one; where a kernel's
        time depends on values, there are none.
        """
        first = self._layers(self.baseline)
        found = {key for key in self.names if key not in self.baselines and self._layers(key) == first} if first else ()
        if not found:
            return frozenset()
        with suppress(Exception):  # What cannot be run here fails again where it is timed, and says more.
            record = self._bench.record("train", self._bench.record("compress", self.baseline).parent)
            trained = self._bench.trained(record)
            if not depends_on_values(operators(trained, inputs, 1)):
                return frozenset(self.names[key] for key in found)
        return frozenset()

    def _layers(self, key: str) -> list[tuple[str, str, int, int | None]]:
        record = self._bench.store.believed("compress", key)
        result = record.result if record else None
        if not isinstance(result, CompressResult) or result.size.payload_bytes < 4 * result.weights:
            return []  # Not all of its weights are floats of 32 bits.
        return [(layer.name, layer.kind, layer.weights, layer.bits) for layer in result.layers]

    def key_of(self, name: str) -> str:
        """Return the key of the network called so; a copy of the baseline is the baseline."""
        return next((key for key, own in self.names.items() if own == name), self.baseline)

    def inputs(self, batch_size: int) -> tuple[Any, ...]:
        """Return what all networks of the session are fed: training samples, as the baseline's trainer loads them."""
        try:
            self.built(self.baseline)
            return self._bench.inputs(self.baseline, batch_size)
        except SparsebenchError as error:
            raise _without_baseline(error) from error

    def built(self, key: str) -> Built:
        """Return how a worker builds a network; one that was not compressed is an error."""
        store = self._bench.store
        record = store.believed("compress", key)
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
        inputs: tuple[Any, ...],
        foreign_cores: float | None,
    ) -> None:
        self._found, self._settings, self._networks, self._bench = found, settings, networks, bench
        self._second, self._inputs, self._foreign_cores = second, inputs, foreign_cores
        self._id = uuid.uuid4().hex[:12]

    def outcome(self, stage: Stage) -> Outcome:
        key = str(stage.parent)
        timing = self._found[self._networks.names[key]]
        samples = json.dumps(self._samples(timing), separators=(",", ":"), sort_keys=True) + "\n"
        digest = self._bench.save("measure", stage.key, SAMPLES, samples.encode())
        result = MeasureResult(
            **{name: self._settings[name] for name in ("protocol", "batch_size", "threads", "cache")},
            **{name: getattr(timing, name) for name in ("calls", "calls_together")},
            **{name: getattr(timing, name) for name in ("latency_ms", "median_ms", "p95_ms", "p99_ms")},
            against=self._speedup(timing.paired, self._networks.baseline),
            against_eager=self._speedup(timing.second, self._second) if timing.second and self._second else None,
            session=self._session(timing),
            fallback_kernels=self._fallback_kernels(key),
            places=self._places(timing),
            peak_memory_bytes=round(float(np.median(timing.peak_bytes))) if timing.peak_bytes else None,
            peak_memory_by_process=timing.peak_bytes,
        )
        return Outcome(result=result, artifacts={SAMPLES: digest})

    def _speedup(self, speedup: Speedup, baseline: str) -> SpeedupResult:
        values = {name: value for name, value in asdict(speedup).items() if name not in ("verdict", "weights")}
        return SpeedupResult(baseline=self._networks.baselines[baseline], compress=baseline, **values)

    def _fallback_kernels(self, key: str) -> tuple[str, ...]:
        """Return what eager falls back to; other backends do not say."""
        if self._bench.record("compress", key).settings["backend"]["name"] != EAGER:
            return ()
        with suppress(Exception):  # It has been timed; what a profiler minds is no reason to lose that.
            return fallback_kernels(operators(self._bench.restored(key), self._inputs, self._settings["threads"]))
        return ()

    def _places(self, timing: Timing) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Return where the blocks of a network stood, for each process and round."""
        names = copies_of(timing.name) if timing.name == self._found.baseline else (timing.name,)
        found: dict[int, list[tuple[int, ...]]] = {}
        for one in self._rounds(timing):
            found.setdefault(one.generation, []).append(tuple(one.order.index(name) for name in names))
        return tuple(map(tuple, found.values()))

    def _rounds(self, timing: Timing) -> tuple[RoundRecord, ...]:
        return tuple(one for one in self._found.rounds if one.group == timing.group)

    def _session(self, timing: Timing) -> SessionResult:
        """Return the session of a network: where they did not fit into memory together, that of its group."""
        found, rounds = self._found, self._rounds(timing)
        copies = copies_of(found.baseline)
        conditions = {name: float(value) for name, value in worst_conditions(rounds).items()}
        if self._foreign_cores is not None:
            conditions["foreign_cores"] = self._foreign_cores
        return SessionResult(
            id=f"{self._id}-{timing.group}",
            **{name: getattr(found, name) for name in _OF_SESSIONS},
            networks=len({name for name in rounds[0].order if name not in copies[1:]}),
            rounds=len(rounds),
            processes=(processes := len({one.generation for one in rounds})),
            controls=tuple(
                ControlResult(
                    **{name: getattr(one, name) for name in ("name", "speedup", "low", "high")},
                    by_process=one.paired.by_process,
                )
                for one in found.controls_of(timing.group)
            ),
            state=found.validity_of(timing.group),
            enough=processes >= PROCESSES,
            resolution=found.resolution_of(timing.group),
            seconds_needed=found.seconds_needed,
            conditions=conditions,
            weights=found.controls_of(timing.group)[0].paired.weights,
        )

    def _samples(self, timing: Timing) -> dict[str, Any]:
        """Return the raw samples of one network: block medians round by round, and some of its single calls."""
        names, rounds = self._networks.names, self._rounds(timing)
        copies = copies_of(self._found.baseline)
        baseline = self._found.baseline
        second = names[self._second] if self._second and names[self._second] not in (baseline, timing.name) else None
        calls = np.concatenate([taken for one in rounds for taken in _own(one.order, one.calls_ms, timing.name)])
        kept = np.linspace(0, len(calls) - 1, min(len(calls), KEPT_CALLS)).round().astype(int)
        listed = []
        for one in rounds:
            entry = {
                "process": one.generation,
                "cores": one.cores,
                "conditions": {name: value for name, value in vars(one.conditions).items() if value is not None},
                "place": one.order.index(timing.name),
                "blocks_ms": _own(one.order, one.latencies_ms, timing.name),
                "baseline_ms": [block for name in copies for block in _own(one.order, one.latencies_ms, name)],
            }
            if second:
                entry["eager_ms"] = _own(one.order, one.latencies_ms, second)
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
