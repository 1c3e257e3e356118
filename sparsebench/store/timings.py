"""Latencies as their record keeps them: of one network, against its baselines, in the session that timed them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from sparsebench.statistics.verdicts import Limits, Validity, Verdict, validity, verdict
from sparsebench.store.fields import (
    AtLeastOne,
    Batch,
    Count,
    Finite,
    Flag,
    Fraction,
    Key,
    NotNegative,
    Positive,
    Small,
    Text,
    Whole,
)

PAIRED = "paired"
"""Name of the protocol before processes were the unit; its intervals came from rounds, each for itself."""


def _from_ratio(value: Any) -> Any:
    """Return a speedup out of a latency ratio, as records had it before."""
    if not isinstance(value, Mapping) or "ratio" not in value:
        return value
    kept = {name: value[name] for name in ("baseline", "compress", "p_value")}
    by_process = [1 / ratio for ratio in value.get("generation_ratios", ())]
    limits = {"low": 1 / value["high"], "high": 1 / value["low"]}
    return {**kept, "speedup": 1 / value["ratio"], **limits, "by_process": by_process}


def _from_one_control(value: Any) -> Any:
    """Return a session with its controls out of one that had one control."""
    if not isinstance(value, Mapping) or "control_ratio" not in value:
        return value
    old = {"control_ratio", "control_low", "control_high", "valid", "generations"}
    kept = {name: given for name, given in value.items() if name not in old}
    low, high = 1 / value["control_high"], 1 / value["control_low"]
    state = validity([Limits(low, high)], value["band"])
    control = {"name": "second copy", "speedup": 1 / value["control_ratio"], "low": low, "high": high}
    return {**kept, "controls": [control], "state": state, "processes": value["generations"], "enough": True}


@dataclass(frozen=True, kw_only=True)
class SpeedupResult:
    """A baseline's latency divided by this network's, of rounds in which both were timed; above 1 is faster.

    ``baseline`` names the network, and ``compress`` is the key of the stage that made it. ``speedup`` is the geometric
    mean of ``by_process`` with the session's weights, ``low`` and ``high`` are the limits of its 95 % interval, which
    holds for all networks of the session together, and ``p_value`` that of "the difference lies inside the band",
    adjusted for all of them.
    """

    baseline: Text
    compress: Key
    speedup: Positive
    low: Positive
    high: Positive
    p_value: Fraction
    by_process: tuple[Positive, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """A network that is the baseline, or runs its kernels: ``speedup``, which is 1 in truth, and its 95 % limits."""

    name: Text
    speedup: Positive
    low: Positive
    high: Positive
    by_process: tuple[Positive, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SessionResult:
    """The session in which networks were timed together; each of their records holds it.

    ``controls`` are copies of the baseline, each beside the others, and networks that run its kernels; ``state`` is
    what they say: VALID where all of them lie inside ``band``, NOISY where one reaches out of it, INVALID where one
    lies outside. ``resolution`` is the smallest difference that would have been called for every network, as a
    fraction; None in older records. ``enough`` is whether as many processes timed as the protocol asks for,
    ``seconds_needed`` how long that takes, where ``seconds_cap`` was too short for it. ``seed`` is that of the order of
    networks in the rounds. ``stopped`` says whether every interval got narrower than ``precision`` to either side, or
    time or processes ran out before. ``conditions`` are the largest values over the rounds, of what the system tells:
    ``load_1min``, ``steal_share``, ``voluntary_switches``, ``involuntary_switches``, ``frequency_mhz``,
    ``throttle_events`` and ``gpu_clock_mhz``; the artifact has them for each round. ``foreign_cores`` among them is how
    many cores other processes kept busy, in the mean over the session. ``in_process_because`` says why no worker
    processes timed, None where they did. ``weights`` is what each process counts for, which is less where it was
    disturbed; their sum is 1. In older records it is empty: all counted alike.
    """

    id: Text
    seed: Whole
    networks: AtLeastOne
    rounds: AtLeastOne
    processes: AtLeastOne
    seconds: NotNegative
    stopped: Literal["precise", "cap"]
    precision: NotNegative
    band: NotNegative
    controls: tuple[ControlResult, ...]
    state: Validity
    enough: Flag
    resolution: NotNegative | None = None
    seconds_needed: NotNegative | None = None
    conditions: Mapping[Text, Finite] = field(default_factory=dict)
    in_process_because: Text | None = None
    weights: tuple[Fraction, ...] = ()

    @property
    def control_limits(self) -> Limits:
        """The lowest and the highest limit of the controls' speedups."""
        return Limits.around(Limits(one.low, one.high) for one in self.controls)


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """Latency of one forward pass at one batch size and number of threads.

    ``protocol`` names how it was taken. ``latency_ms`` is the baseline's median latency divided by the speedup, so that
    latencies and speedups agree; ``median_ms`` is the network's own median over rounds of the median call of a block.
    ``p95_ms`` and ``p99_ms`` are percentiles of all ``calls`` latencies, each of a single call where ``calls_together``
    is 1; shorter calls than 0.1 ms are timed several together, and each latency is their mean. ``against`` is the
    comparison with the dense fp32 network of the same backend, ``against_eager`` with that of eager.

    ``cache`` is "hot" where calls followed one another, "cold" where other memory was touched before each.
    ``fallback_kernels`` names operators that eager ran for want of a faster one. ``places`` are, for each process and
    round, the places of this network in the order of its ``session.networks`` + 3 blocks, from 0; a baseline has those
    of its copies one after another.

    ``peak_memory_bytes`` is what running the network adds at its peak to the anonymous memory of a process in which it
    is loaded: activations, scratch memory and what its runtime keeps, without the weights as they are loaded; the
    median of ``peak_memory_by_process``, None where it was not measured. The raw samples are the stage's artifact
    ``samples.json``.
    """

    kind: Literal["measure"] = "measure"
    protocol: Text
    batch_size: Batch
    threads: Batch
    calls: AtLeastOne
    calls_together: AtLeastOne
    median_ms: Positive
    p95_ms: Positive
    p99_ms: Positive
    against: Annotated[SpeedupResult, BeforeValidator(_from_ratio)]
    against_eager: Annotated[SpeedupResult, BeforeValidator(_from_ratio)] | None
    session: Annotated[SessionResult, BeforeValidator(_from_one_control)]
    latency_ms: Positive | None = None
    cache: Literal["hot", "cold"] = "hot"
    fallback_kernels: tuple[Text, ...] = ()
    places: tuple[tuple[tuple[Small, ...], ...], ...] = ()
    peak_memory_bytes: Count | None = None
    peak_memory_by_process: tuple[Count, ...] = ()

    @property
    def shown_ms(self) -> float:
        """The latency to show: that of paired rounds, or in older records the network's own median."""
        return self.median_ms if self.latency_ms is None else self.latency_ms

    @property
    def throughput_per_s(self) -> float:
        """Samples per second at that latency."""
        return 1000.0 * self.batch_size / self.shown_ms

    def verdict(self, speedup: SpeedupResult) -> Verdict:
        """Return what one reads off the interval of one of its speedups, beside another network than itself."""
        return verdict(speedup.low, speedup.high, self.session.band, enough=self.session.enough)
