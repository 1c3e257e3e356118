"""What a run cost: seconds by stage, samples per second, what sharing and resuming saved, and the time in between.

Each stage is counted once, however many trials share it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sparsebench.report.caveats import stages
from sparsebench.store.records import STAGE_KINDS, Run, StageRecord
from sparsebench.store.results import CompressResult, EvaluateResult, TrainResult
from sparsebench.wording.numbers import decimal, percent
from sparsebench.wording.text import counted, markdown_table

Span = tuple[float, float]
"""Begin and end, in seconds since 1970."""


@dataclass(frozen=True)
class Cost:
    """Stages of one kind, how many of them failed, and their seconds; ``calibration_seconds`` is part of compress.

    ``samples_per_second`` is, of train, the training samples of all epochs over the seconds spent in training them; of
    evaluate, the test samples over the seconds of the stages, in which the network is read and built as well.
    """

    stage: str
    stages: int
    failed: int
    seconds: float
    calibration_seconds: float = 0.0
    samples_per_second: float | None = None


@dataclass(frozen=True)
class Savings:
    """What was not spent twice.

    ``apart_seconds`` is what the trials would have taken one by one, each with stages of its own. ``starts`` counts the
    starts of the run that found work to do; ``kept_stages`` were done when the last of them began, and it did not
    spend their ``kept_seconds`` again.
    """

    trials: int
    apart_seconds: float
    spent_seconds: float
    starts: int
    kept_stages: int
    kept_seconds: float


@dataclass(frozen=True)
class Wall:
    """Wall time of a run, and for how long of it at least one stage was running.

    ``seconds`` go from each start to the end of the last stage begun in it; the time until the next start is left out.
    """

    seconds: float
    busy_seconds: float

    @property
    def outside(self) -> float:
        """Share of the wall time in which no stage was running."""
        return 1.0 - self.busy_seconds / self.seconds if self.seconds else 0.0


def costs(run: Run) -> tuple[Cost, ...]:
    """Return the cost of each kind of stage, in the order in which stages run."""
    by_kind = {kind: [record for record in stages(run).values() if record.stage == kind] for kind in STAGE_KINDS}
    return tuple(
        Cost(
            stage=kind,
            stages=len(records),
            failed=sum(record.status == "failed" for record in records),
            seconds=_seconds(records),
            calibration_seconds=sum(
                record.result.calibration_seconds for record in records if isinstance(record.result, CompressResult)
            ),
            samples_per_second=_rate(records),
        )
        for kind, records in by_kind.items()
    )


def _seconds(records: Iterable[StageRecord]) -> float:
    return sum(record.seconds for record in records)


def _rate(records: Iterable[StageRecord]) -> float | None:
    """Return samples per second over all stages of a kind: the sum of samples over the sum of seconds."""
    samples, seconds = 0.0, 0.0
    for record in records:
        result = record.result
        if isinstance(result, TrainResult) and result.epochs and result.samples_per_second > 0:
            read = result.epochs * (result.epoch_samples or result.train_samples)
            samples, seconds = samples + read, seconds + read / result.samples_per_second
        elif isinstance(result, EvaluateResult):
            samples, seconds = samples + result.samples, seconds + record.seconds
    return samples / seconds if seconds > 0 else None


def savings(run: Run) -> Savings:
    """Return what sharing stages and resuming saved."""
    records = stages(run).values()
    last = run.starts[-1].timestamp() if run.starts else float("-inf")
    kept = [r for r in records if r.status == "done" and _begun(r) + r.seconds <= last]
    return Savings(
        trials=len(run.trials),
        apart_seconds=_seconds(record for trial in run.trials for record in trial.records),
        spent_seconds=_seconds(records),
        starts=len(run.starts),
        kept_stages=len(kept),
        kept_seconds=_seconds(kept),
    )


def wall(run: Run) -> Wall | None:
    """Return the wall time of a run; None where it was not noted when the run and its stages began.

    Records of old have whole seconds, in which a stage of half a second cannot be placed.
    """
    records = list(stages(run).values())
    if not run.starts or not records or any("." not in record.started_at for record in records):
        return None
    spans, begins = _spans(records), sorted(start.timestamp() for start in run.starts)
    sessions = []
    for start, after in pairwise([*begins, math.inf]):
        ends = [end for begin, end in spans if start <= begin < after]
        sessions += [(start, max(ends))] if ends else []
    return Wall(_length(sessions), _length(span for span in spans if span[0] >= begins[0])) if sessions else None


def _spans(records: Iterable[StageRecord]) -> list[Span]:
    """Return when stages ran; those that were timed together began together, and each has its share of the seconds."""
    seconds: defaultdict[tuple[float, str, str], float] = defaultdict(float)
    for record in records:
        seconds[_begun(record), record.stage, "" if record.stage == "measure" else record.key] += record.seconds
    return [(begin, begin + length) for (begin, *_), length in seconds.items()]


def joined_spans(spans: Iterable[Span]) -> list[Span]:
    """Return spans of time, ascending, with those joined that overlap."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _length(spans: Iterable[Span]) -> float:
    return sum(end - begin for begin, end in joined_spans(spans))


def _begun(record: StageRecord) -> float:
    return datetime.fromisoformat(record.started_at).timestamp()


def costs_markdown(run: Run) -> str:
    """Return the costs as a table with a total, and what was saved as a list."""
    saved = savings(run)
    return f"{costs_table(run)}\n\n" + "\n".join(
        f"- {line}" for line in (_shared(saved), _resumed(saved), _between(run))
    )


def costs_table(run: Run) -> str:
    """Return the costs as a table with a total."""
    found, rows = costs(run), []
    for cost in found:
        numbers = (decimal(cost.seconds, 1), decimal(cost.samples_per_second, 0))
        rows.append([cost.stage, f"{cost.stages:,}", f"{cost.failed:,}", *numbers])
        if cost.stage == "compress":
            rows.append(["of which calibration", "", "", decimal(cost.calibration_seconds, 1), ""])
    count, failed, seconds = (sum(getattr(cost, name) for cost in found) for name in ("stages", "failed", "seconds"))
    rows.append(["total", f"{count:,}", f"{failed:,}", decimal(seconds, 1), ""])
    return markdown_table(["stage", "stages", "failed", "seconds", "samples/s"], rows, [False, True, True, True, True])


def _shared(saved: Savings) -> str:
    return (
        f"**shared**: alone, {counted(saved.trials, 'trial')} would have taken {decimal(saved.apart_seconds, 1)} s; "
        f"sharing stages saved {decimal(saved.apart_seconds - saved.spent_seconds, 1)} s."
    )


def _resumed(saved: Savings) -> str:
    if not saved.starts:
        return "**resumed**: unknown, because the starts of the run were not recorded."
    if saved.starts == 1:
        return "**resumed**: nothing, the run was started once."
    return (
        f"**resumed**: the last of {saved.starts:,} starts found {counted(saved.kept_stages, 'stage')} done and saved "
        f"their {decimal(saved.kept_seconds, 1)} s."
    )


def _between(run: Run) -> str:
    found = wall(run)
    if found is None:
        return "**outside the stages**: unknown, because starts were not recorded to the millisecond."
    text = (
        f"**outside the stages**: {percent(found.outside, 1)} % of {decimal(found.seconds, 1)} s of wall time, spent "
        "on importing libraries, checking data and networks, and writing records."
    )
    again = sum(record.attempt > 1 for record in stages(run).values())
    if again:
        text += f" It includes earlier attempts of {counted(again, 'stage')}."
    return text
