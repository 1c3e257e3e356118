"""What a comparison hands back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sparsebench.timing.session import RoundRecord, Stopped
from sparsebench.timing.table import table
from sparsebench.verdicts import Verdict, is_valid


@dataclass(frozen=True)
class Ratio:
    """A latency divided by another of the same rounds.

    Attributes:
        ratio: the median over rounds of paired ratios; below 1 is faster. Not quite the quotient of the medians, which
            are not paired.
        low: lower limit of the ratio's 95 % interval, for this ratio by itself.
        high: upper limit.
        p_value: of "the median ratio is 1", for this ratio by itself.
        generation_ratios: the ratio within each worker generation; where they lie farther apart than the interval is
            wide, the ratio depends on how a process happens to lay out its memory.
    """

    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0
    p_value: float = 1.0
    generation_ratios: tuple[float, ...] = ()


@dataclass(frozen=True)
class Timing:
    """One variant against the baseline.

    Attributes:
        name: of the variant.
        median_ms: median over rounds of the median latency of a block.
        p95_ms: 95th percentile of all calls of all rounds; of very short calls, which are timed several at once, of
            their means.
        p99_ms: 99th percentile of the same.
        calls: how many latencies these percentiles are of.
        calls_together: how many calls are timed together; 1 where each latency is of a single call.
        paired: against the baseline.
        second: against the second baseline; None where there is none.
        verdict: against the baseline, for all variants together.
        n_rounds: rounds behind the ratio.
        group: number of the group of variants that it was timed in.
        peak_bytes: memory that running it takes at its peak; None where it was not measured.
    """

    name: str
    median_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    calls_together: int
    paired: Ratio
    second: Ratio | None
    verdict: Verdict
    n_rounds: int
    group: int = 0
    peak_bytes: int | None = None

    @property
    def ratio(self) -> float:
        """Latency divided by the baseline's; see ``Ratio``."""
        return self.paired.ratio

    @property
    def low(self) -> float:
        """Lower limit of the ratio's 95 % interval."""
        return self.paired.low

    @property
    def high(self) -> float:
        """Upper limit of the ratio's 95 % interval."""
        return self.paired.high

    @property
    def generation_ratios(self) -> tuple[float, ...]:
        """The ratio within each worker generation."""
        return self.paired.generation_ratios

    @property
    def speedup(self) -> float:
        """The baseline's latency divided by this one's."""
        return 1 / self.ratio


@dataclass(frozen=True)
class Comparison(Mapping[str, Timing]):
    """Timings by name, the baseline first; printed as a table that says first whether it can be trusted.

    Attributes:
        timings: the baseline and the variants.
        baseline: name of the baseline.
        second: name of the second baseline; None where there is none.
        controls: the second copy of the baseline, one for each group of variants.
        stopped: "precise" where every interval got narrow enough, "cap" where time or rounds ran out before.
        seed: of the order of variants in the rounds.
        band: differences up to this fraction do not matter.
        precision: half-width asked for, as a fraction.
        threads: threads of torch inside one operation.
        seconds: how long it all lasted.
        rounds: the raw samples and the machine's conditions, round by round.
        in_process_because: why the variants were timed in the calling process, where generations are restarts of the
            loop and no cores are fixed; None where worker processes timed them.
    """

    timings: Mapping[str, Timing]
    baseline: str
    controls: tuple[Timing, ...]
    stopped: Stopped
    seed: int
    band: float
    precision: float
    threads: int
    seconds: float
    rounds: tuple[RoundRecord, ...]
    in_process_because: str | None
    second: str | None = None

    @property
    def valid(self) -> bool:
        """Whether each second copy of the baseline may have taken the same time, but for the band."""
        return all(is_valid(control.low, control.high, self.band) for control in self.controls)

    @property
    def conditions(self) -> dict[str, float]:
        """The machine over all rounds: for each of ``Conditions`` that the system tells, the largest of the rounds."""
        return worst_conditions(self.rounds)

    def __getitem__(self, name: str) -> Timing:
        return self.timings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.timings)

    def __len__(self) -> int:
        return len(self.timings)

    def __str__(self) -> str:
        return table(self)


def worst_conditions(rounds: tuple[RoundRecord, ...]) -> dict[str, float]:
    """Return, for each of ``Conditions`` that the system tells, the largest of these rounds."""
    found: dict[str, float] = {}
    for one in rounds:
        for name, value in vars(one.conditions).items():
            if value is not None:
                found[name] = max(found.get(name, value), value)
    return found
