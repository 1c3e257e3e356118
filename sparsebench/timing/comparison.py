"""What a comparison hands back, and how it reads as text."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from tabulate import tabulate

from sparsebench.statistics.processes import resolution
from sparsebench.statistics.verdicts import Limits, Validity, Verdict, validity
from sparsebench.timing.machine import Conditions
from sparsebench.timing.schedule import COPIES
from sparsebench.timing.session import RoundRecord, Stopped
from sparsebench.wording.sessions import session_text

_HEADINGS = ("variant", "latency ms", "p95 ms", "speedup", "95 % interval", "verdict")


def copies_of(baseline: str) -> tuple[str, ...]:
    """Return the names of the baseline and its copies, as rounds have them."""
    return (baseline, *(f"{baseline} (copy {number})" for number in range(2, COPIES + 1)))


@dataclass(frozen=True)
class Speedup:
    """A baseline's latency divided by another one's, from rounds in which both were timed; above 1 is faster.

    Attributes:
        speedup: weighted geometric mean over processes. Not quite the quotient of the medians, which are not paired.
        low: lower limit of its 95 % interval, which holds for all variants of the comparison together.
        high: upper limit.
        p_value: of "the difference lies inside the band", adjusted for all variants (Bonferroni).
        verdict: what one reads off the interval.
        by_process: what each process found; ``low`` and ``high`` come from the spread of its logarithms.
        weights: what each process counts for, less where it was disturbed; their sum is 1.
    """

    speedup: float = 1.0
    low: float = 1.0
    high: float = 1.0
    p_value: float = 1.0
    verdict: Verdict = Verdict.BASELINE
    by_process: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Timing:
    """One variant against the baseline.

    Attributes:
        name: of the variant.
        latency_ms: the baseline's median latency divided by the speedup: what rounds that were paired say, so that
            latencies and speedups agree.
        median_ms: median over rounds of its own median latency of a block.
        p95_ms: 95th percentile of all calls of all rounds; of very short calls, which are timed several at once, of
            their means.
        p99_ms: 99th percentile of the same.
        calls: how many latencies these percentiles are of.
        calls_together: how many calls are timed together; 1 where each latency is of a single call.
        paired: against the baseline.
        second: against the second baseline; None where there is none.
        n_rounds: rounds behind the speedup.
        group: number of the group of variants that it was timed in.
        peak_bytes: memory that running it takes at its peak, for each process; empty where it was not measured.
    """

    name: str
    latency_ms: float
    median_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    calls_together: int
    paired: Speedup
    second: Speedup | None
    n_rounds: int
    group: int = 0
    peak_bytes: tuple[int, ...] = ()

    @property
    def speedup(self) -> float:
        """The baseline's latency divided by this one's."""
        return self.paired.speedup

    @property
    def low(self) -> float:
        """Lower limit of the speedup's 95 % interval."""
        return self.paired.low

    @property
    def high(self) -> float:
        """Upper limit of the speedup's 95 % interval."""
        return self.paired.high

    @property
    def verdict(self) -> Verdict:
        """What one reads off the interval."""
        return self.paired.verdict

    @property
    def limits(self) -> Limits:
        """The interval."""
        return Limits(self.low, self.high)


@dataclass(frozen=True)
class Comparison(Mapping[str, Timing]):
    """Timings by name, the baseline first; printed as a table that says first whether it can be trusted.

    Attributes:
        timings: the baseline and the variants.
        baseline: name of the baseline.
        second: name of the second baseline; None where there is none.
        controls: the baseline's copies of each group, the baseline itself among them, each beside the other copies.
        alike: names of variants that are controls as well, for they run the same kernels as the baseline.
        stopped: "precise" where every interval got narrow enough, "cap" where time or processes ran out before.
        seed: of the order of variants in the rounds.
        band: differences up to this fraction do not matter.
        precision: half-width asked for, as a fraction.
        threads: threads of torch inside one operation.
        seconds: how long it all lasted.
        seconds_needed: how long it takes at least, where the cap was too short for that; otherwise None.
        rounds: the raw samples and the machine's conditions, round by round.
        in_process_because: why the variants were timed in the calling process, where networks are only placed anew in
            memory and no cores are fixed; None where worker processes timed them.
    """

    timings: Mapping[str, Timing]
    baseline: str
    controls: tuple[Timing, ...]
    alike: frozenset[str]
    stopped: Stopped
    seed: int
    band: float
    precision: float
    threads: int
    seconds: float
    seconds_needed: float | None
    rounds: tuple[RoundRecord, ...]
    in_process_because: str | None
    second: str | None = None

    @property
    def validity(self) -> Validity:
        """What the controls of all groups say."""
        return self.validity_of()

    def validity_of(self, group: int | None = None) -> Validity:
        """Return what the controls of one group of variants say, or those of all."""
        return validity([one.limits for one in self.controls_of(group)], self.band)

    def controls_of(self, group: int | None = None) -> list[Timing]:
        """Return the copies of the baseline and what runs its kernels, of one group of variants or of all."""
        every = (*self.controls, *(self[name] for name in self.alike))
        return [one for one in every if group is None or one.group == group]

    @property
    def controls_limits(self) -> Limits:
        """The lowest and the highest limit of all controls."""
        return Limits.around(one.limits for one in self.controls_of())

    def resolution_of(self, group: int | None = None) -> float:
        """Return the smallest difference, as a fraction, that would have been called for every network of a group.

        The second baseline runs elsewhere, and how much it varies says nothing of the others beside their baseline.

        Args:
            group: its number; None for all of them.
        """
        baselines = {self.baseline, self.second}
        own = [one for name, one in self.items() if name not in baselines] or list(self.controls)
        widths = [math.log(one.high / one.low) / 2 for one in own if group is None or one.group == group]
        return resolution(max(widths, default=math.inf), self.band)

    @property
    def processes(self) -> int:
        """How many processes timed, in the group that has fewest of them."""
        found = {(one.group, one.generation) for one in self.rounds}
        return min(sum(group == one for one, _ in found) for group, _ in found)

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
        """Return VALID, NOISY or INVALID, how the session ended, and an aligned row for each variant."""
        lines = [session_text(self.validity, self.controls_limits, self.band, self.resolution_of()), _ending(self)]
        if self.in_process_because is not None:
            lines.append(f"Timed in the calling process, without fresh ones: {self.in_process_because}.")
        rows = [_HEADINGS, *(_row(timing) for timing in self.values())]
        sides = ["left", *["right"] * (len(_HEADINGS) - 2), "left"]
        lines += ["", tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)]
        if len(self) > 2:
            lines += ["", f"All {len(self) - 1} intervals hold together, and verdicts are read off them."]
        return "\n".join(lines)


def worst_conditions(rounds: tuple[RoundRecord, ...]) -> dict[str, float]:
    """Return, for each of ``Conditions`` that the system tells, the largest of these rounds."""
    all_of_them = {field.name: [getattr(one.conditions, field.name) for one in rounds] for field in fields(Conditions)}
    told = {name: [value for value in values if value is not None] for name, values in all_of_them.items()}
    return {name: max(values) for name, values in told.items() if values}


def _row(timing: Timing) -> tuple[str, ...]:
    start = (timing.name, f"{timing.latency_ms:.4g}", f"{timing.p95_ms:.4g}")
    if timing.verdict is Verdict.BASELINE:
        return (*start, "1", "", "baseline")
    return (*start, f"{timing.speedup:.3f}×", f"{timing.low:.3f} to {timing.high:.3f}", str(timing.verdict))


def _ending(comparison: Comparison) -> str:
    percent = f"{100 * comparison.precision:.3g} %"
    why = {
        "precise": f"every interval reaches less than {percent} to either side",
        "cap": f"time or processes ran out before every interval reached less than {percent} to either side",
    }[comparison.stopped]
    return (
        f"Stopped ({comparison.stopped}): {why}. {len(comparison.rounds)} rounds in {comparison.processes} processes, "
        f"{comparison.seconds:.0f} s, threads {comparison.threads}, seed {comparison.seed}."
    )
