"""What a comparison hands back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sparsebench.timing.session import RoundRecord, Stopped
from sparsebench.timing.table import table
from sparsebench.timing.verdicts import Verdict, is_valid


@dataclass(frozen=True)
class Timing:
    """One variant against the baseline.

    Attributes:
        name: of the variant.
        median_ms: median over rounds of the median latency of a block.
        p95_ms: 95th percentile of all calls of all rounds; of very short calls, which are timed several at once, of
            their means.
        ratio: latency divided by the baseline's, the median over rounds of paired ratios; below 1 is faster. Not
            quite the quotient of the medians, which are not paired.
        low: lower limit of the ratio's 95 % interval, for this variant by itself.
        high: upper limit.
        verdict: for all variants together.
        n_rounds: rounds behind the ratio.
        generation_ratios: the ratio within each worker generation; where they lie farther apart than the interval is
            wide, the ratio depends on how a process happens to lay out its memory.
    """

    name: str
    median_ms: float
    p95_ms: float
    ratio: float
    low: float
    high: float
    verdict: Verdict
    n_rounds: int
    generation_ratios: tuple[float, ...] = ()

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

    @property
    def valid(self) -> bool:
        """Whether each second copy of the baseline may have taken the same time, but for the band."""
        return all(is_valid(control.low, control.high, self.band) for control in self.controls)

    @property
    def conditions(self) -> dict[str, float]:
        """The machine over all rounds: for each of ``Conditions`` that the system tells, the largest of the rounds."""
        found: dict[str, float] = {}
        for one in self.rounds:
            for name, value in vars(one.conditions).items():
                if value is not None:
                    found[name] = max(found.get(name, value), value)
        return found

    def __getitem__(self, name: str) -> Timing:
        return self.timings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.timings)

    def __len__(self) -> int:
        return len(self.timings)

    def __str__(self) -> str:
        return table(self)
