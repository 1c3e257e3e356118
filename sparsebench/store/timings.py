"""Latencies as their record keeps them: of one network, against its baselines, in the session that timed them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RatioResult:
    """A latency divided by a baseline's, of rounds in which both were timed; below 1 is faster.

    ``baseline`` names the network, and ``compress`` is the key of the stage that made it. ``ratio`` is the median over
    rounds of paired ratios, ``low`` and ``high`` are its 95 % limits and ``p_value`` that of "the median ratio is 1",
    all for this ratio by itself. Where ``generation_ratios``, one for each worker process, lie farther apart than the
    interval is wide, the ratio depends on how a process happens to lay out its memory.
    """

    baseline: str
    compress: str
    ratio: float
    low: float
    high: float
    p_value: float
    generation_ratios: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SessionResult:
    """The session in which networks were timed together; each of their records holds it.

    ``control_*`` is the ratio of a second copy of the baseline, which should be 1, and ``valid`` whether it may be, but
    for ``band``. ``seed`` is that of the order of networks in the rounds. ``stopped`` says whether every interval got
    narrower than ``precision`` to either side, or time or rounds ran out before. ``conditions`` are the largest values
    over the rounds, of what the system tells: ``load_1min``, ``steal_share``, ``voluntary_switches``,
    ``involuntary_switches``, ``frequency_mhz``, ``throttle_events`` and ``gpu_clock_mhz``; the artifact has them for
    each round. ``foreign_cores`` among them is how many cores other processes kept busy, in the mean over the session.
    ``in_process_because`` says why no worker processes timed, None where they did.
    """

    id: str
    seed: int
    networks: int
    rounds: int
    generations: int
    seconds: float
    stopped: Literal["precise", "cap"]
    precision: float
    band: float
    control_ratio: float
    control_low: float
    control_high: float
    valid: bool
    conditions: Mapping[str, float] = field(default_factory=dict)
    in_process_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """Latency of one forward pass at one batch size and number of threads.

    ``protocol`` names how it was taken; ``paired`` is that of ``sparsebench.timing``. ``median_ms`` is the median over
    rounds of the median call of a block; ``p95_ms`` and ``p99_ms`` are percentiles of all ``calls`` latencies, each of
    a single call where ``calls_together`` is 1; shorter calls than 0.1 ms are timed several together, and each latency
    is their mean. ``against`` is the comparison with the dense fp32 network of the same backend, ``against_eager`` with
    that of eager. ``peak_memory_bytes`` is what running the network adds at its peak to the anonymous memory of a
    process in which it is loaded: activations, scratch memory and what its runtime keeps, without the weights as they
    are loaded; None where it was not measured. The raw samples are the stage's
    artifact ``samples.json``.
    """

    kind: Literal["measure"] = "measure"
    protocol: str
    batch_size: int
    threads: int
    calls: int
    calls_together: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    against: RatioResult
    against_eager: RatioResult | None
    session: SessionResult
    peak_memory_bytes: int | None = None

    @property
    def throughput_per_s(self) -> float:
        """Samples per second at the median latency."""
        return 1000.0 * self.batch_size / self.median_ms
