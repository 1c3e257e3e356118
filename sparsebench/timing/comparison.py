"""What a comparison hands back, how it comes from sessions, and how it reads as text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from tabulate import tabulate

from sparsebench.statistics.ratios import Floats, median_interval, sign_test
from sparsebench.statistics.verdicts import Verdict, holm, is_valid, verdict
from sparsebench.timing.machine import Conditions
from sparsebench.timing.schedule import Settings
from sparsebench.timing.session import RoundRecord, Session, Stopped

_HEADINGS = ("variant", "median ms", "p95 ms", "ratio", "95 % interval", "speedup", "verdict")


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
        """Return VALID or INVALID, how the session ended, and an aligned row for each variant."""
        lines = [*_validity(self), _ending(self)]
        if self.in_process_because is not None:
            because = self.in_process_because
            lines.append(f"Timed in the calling process, where generations are restarts of the loop: {because}.")
        rows = [_HEADINGS, *(_row(timing) for timing in self.values())]
        sides = ["left", *["right"] * (len(_HEADINGS) - 2), "left"]
        lines += ["", tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)]
        if len(self) > 2:
            jointly = f"FASTER and SLOWER hold for all {len(self) - 1} together (Holm)."
            lines += ["", f"Intervals are for each variant by itself; {jointly}"]
        return "\n".join(lines)


def worst_conditions(rounds: tuple[RoundRecord, ...]) -> dict[str, float]:
    """Return, for each of ``Conditions`` that the system tells, the largest of these rounds."""
    all_of_them = {field.name: [getattr(one.conditions, field.name) for one in rounds] for field in fields(Conditions)}
    told = {name: [value for value in values if value is not None] for name, values in all_of_them.items()}
    return {name: max(values) for name, values in told.items() if values}


def _row(timing: Timing) -> tuple[str, ...]:
    start = (timing.name, f"{timing.median_ms:.4g}", f"{timing.p95_ms:.4g}")
    if timing.verdict is Verdict.BASELINE:
        return (*start, "1", "", "1", "baseline")
    return (*start, f"{timing.ratio:.4f}", _interval(timing), f"{timing.speedup:.2f}×", str(timing.verdict))


def _interval(timing: Timing) -> str:
    return f"{timing.low:.4f} to {timing.high:.4f}"


def _validity(comparison: Comparison) -> list[str]:
    lines = []
    for control in comparison.controls:
        took = f"a second copy of {comparison.baseline!r} took {control.ratio:.4f} ({_interval(control)}) of its time"
        if is_valid(control.low, control.high, comparison.band):
            lines.append(f"VALID: {took}.")
        else:
            lines.append(
                f"INVALID: {took}, though it is the same. Trust none of the verdicts of this session; "
                "repeat it with less other work on the machine, or with fewer threads."
            )
    # What is wrong comes first.
    return sorted(lines)


def _ending(comparison: Comparison) -> str:
    percent = f"{100 * comparison.precision:.3g} %"
    why = {
        "precise": f"every interval reaches less than {percent} to either side",
        "cap": f"time or rounds ran out before every interval reached less than {percent} to either side",
    }[comparison.stopped]
    generations = len({(one.group, one.generation) for one in comparison.rounds})
    return (
        f"Stopped ({comparison.stopped}): {why}. {len(comparison.rounds)} rounds in {generations} generations, "
        f"{comparison.seconds:.0f} s, threads {comparison.threads}, seed {comparison.seed}."
    )


def summarise(
    sessions: Sequence[Session],
    names: Sequence[str],
    baseline: str,
    second: str | None,
    settings: Settings,
    because: str | None,
) -> Comparison:
    """Return the comparison that sessions, one for each group of variants, amount to.

    In each session the first name is the baseline and the second its second copy. Verdicts are adjusted over the
    variants of all sessions; the second copies are no findings and not among them. What was timed in several sessions,
    as the baselines are, stands for the first of them.
    """
    found: dict[str, Timing] = {}
    controls: list[Timing] = []
    for session in sessions:
        first, control, *others = _timings(session, second)
        controls.append(_judged(control, control.paired.p_value, settings.band))
        for timing in (first, *others):
            found.setdefault(timing.name, timing)
    judged = [name for name in names if name != baseline]
    adjusted = holm([found[name].paired.p_value for name in judged]).tolist()
    for name, p_adjusted in zip(judged, adjusted, strict=True):
        found[name] = _judged(found[name], p_adjusted, settings.band)
    return Comparison(
        timings={name: found[name] for name in (baseline, *judged)},
        baseline=baseline,
        controls=tuple(controls),
        stopped="precise" if all(session.stopped == "precise" for session in sessions) else "cap",
        seed=settings.seed,
        band=settings.band,
        precision=settings.precision,
        threads=settings.threads,
        seconds=sum(session.seconds for session in sessions),
        rounds=tuple(one for session in sessions for one in session.rounds),
        in_process_because=because,
        second=second,
    )


def _timings(session: Session, second: str | None) -> list[Timing]:
    """Return the timings of a session in the order of its names, without a verdict yet."""
    log_ratios = session.log_ratios()
    paired = [Ratio(), *_ratios(log_ratios, session.generations)]
    others: Sequence[Ratio | None] = paired if second == session.names[0] else [None] * len(paired)
    if second not in (None, session.names[0]):
        place = session.names.index(second)
        # Within a round, and the neighbour before with the neighbour before: log(variant/base) − log(second/base).
        of_second = log_ratios[[place - 1]]
        others = [*_ratios(-of_second, session.generations), *_ratios(log_ratios - of_second, session.generations)]
        others[place] = Ratio()
    return [_timing(session, number, *pair) for number, pair in enumerate(zip(paired, others, strict=True))]


def _ratios(log_ratios: Floats, generations: Sequence[int]) -> list[Ratio]:
    """Return what log ratios of shape (variants, rounds, 2) say."""
    labels = np.asarray(generations)
    within = [np.median(log_ratios[:, labels == label], axis=(1, 2)) for label in np.unique(labels)]
    logs = (*median_interval(log_ratios, generations), *within)
    ratios, low, high, *each = ([float(np.exp(log)) for log in column] for column in logs)
    columns = (ratios, low, high, sign_test(log_ratios).tolist(), zip(*each, strict=True))
    return [Ratio(*row) for row in zip(*columns, strict=True)]


def _timing(session: Session, number: int, paired: Ratio, second: Ratio | None) -> Timing:
    name, loaded = session.names[number], session.loaded[number]
    blocks = [place for one in session.rounds for place in zip(one.order, one.latencies_ms, one.calls_ms, strict=True)]
    own = [(latency, calls) for owner, latency, calls in blocks if owner == name]
    calls = np.concatenate([taken for _, taken in own])
    p95, p99 = np.percentile(calls, (95, 99)).tolist()
    return Timing(
        name=name,
        median_ms=float(np.median([latency for latency, _ in own])),
        p95_ms=p95,
        p99_ms=p99,
        calls=len(calls),
        calls_together=loaded.calls,
        paired=paired,
        second=second,
        verdict=Verdict.BASELINE,
        n_rounds=len(session.rounds),
        group=session.group,
        peak_bytes=loaded.peak_bytes,
    )


def _judged(timing: Timing, p_adjusted: float, band: float) -> Timing:
    return replace(timing, verdict=verdict(timing.ratio, timing.low, timing.high, p_adjusted, band))
