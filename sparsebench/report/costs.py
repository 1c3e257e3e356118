"""What a run cost: seconds by stage, samples per second, what sharing and resuming saved, and the time in between.

Each stage is counted once, however many trials share it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sparsebench.report.caveats import stages
from sparsebench.store.records import STAGE_KINDS, StageRecord
from sparsebench.store.results import CompressResult, EvaluateResult, TrainResult
from sparsebench.store.run import Run
from sparsebench.wording.numbers import DASH, decimal, percent
from sparsebench.wording.tables import markdown_table
from sparsebench.wording.text import counted

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
    records = stages(run).values()
    found = []
    for kind in STAGE_KINDS:
        of_kind = [record for record in records if record.stage == kind]
        calibration = (r.result.calibration_seconds for r in of_kind if isinstance(r.result, CompressResult))
        failed = sum(record.status == "failed" for record in of_kind)
        seconds = sum(record.seconds for record in of_kind)
        found.append(Cost(kind, len(of_kind), failed, seconds, sum(calibration), _rate(of_kind)))
    return tuple(found)


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
    last = run.starts[-1].timestamp() if run.starts else None
    done = [record for record in records if record.status == "done"]
    kept = [record for record in done if last is not None and _begun(record) + record.seconds <= last]
    return Savings(
        trials=len(run.trials),
        apart_seconds=sum(r.seconds for trial in run.trials for r in (*trial.ancestors, *trial.stages)),
        spent_seconds=sum(record.seconds for record in records),
        starts=len(run.starts),
        kept_stages=len(kept),
        kept_seconds=sum(record.seconds for record in kept),
    )


def wall(run: Run) -> Wall | None:
    """Return the wall time of a run; None where it was not noted when the run and its stages began.

    Records of old have whole seconds, in which a stage of half a second cannot be placed.
    """
    records = list(stages(run).values())
    if not run.starts or not records or any("." not in record.started_at for record in records):
        return None
    spans = _spans(records)
    begins = [start.timestamp() for start in run.starts]
    ends: dict[float, float] = {}
    for begin, end in spans:
        start = max((at for at in begins if at <= begin), default=None)
        if start is not None:
            ends[start] = max(end, ends.get(start, end))
    sessions = joined_spans(ends.items())
    inside = [span for span in spans if span[0] >= begins[0]]
    return Wall(_length(sessions), _length(joined_spans(inside))) if sessions else None


def _spans(records: Iterable[StageRecord]) -> list[Span]:
    """Return when stages ran; those that were timed together began together, and each has its share of the seconds."""
    seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    begun: dict[tuple[str, str, str], float] = {}
    for record in records:
        key = (record.stage, record.started_at, "" if record.stage == "measure" else record.key)
        seconds[key] += record.seconds
        begun[key] = _begun(record)
    return [(begun[key], begun[key] + seconds[key]) for key in begun]


def joined_spans(spans: Iterable[Span]) -> list[Span]:
    """Return spans of time, ascending, with those joined that overlap."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _length(spans: Sequence[Span]) -> float:
    return sum(end - begin for begin, end in spans)


def _begun(record: StageRecord) -> float:
    return datetime.fromisoformat(record.started_at).timestamp()


def costs_markdown(run: Run) -> str:
    """Return the costs as a table with a total, and what was saved as a list."""
    return f"{costs_table(run)}\n\n" + "\n".join(f"- {line}" for line in (_shared(run), _resumed(run), _between(run)))


def costs_table(run: Run) -> str:
    """Return the costs as a table with a total."""
    found = costs(run)
    rows = []
    for cost in found:
        rate = DASH if cost.samples_per_second is None else decimal(cost.samples_per_second, 0)
        rows.append([cost.stage, f"{cost.stages:,}", f"{cost.failed:,}", decimal(cost.seconds, 1), rate])
        if cost.stage == "compress":
            rows.append(["of which calibration", "", "", decimal(cost.calibration_seconds, 1), ""])
    total = [sum(cost.stages for cost in found), sum(cost.failed for cost in found)]
    rows.append(["total", f"{total[0]:,}", f"{total[1]:,}", decimal(sum(cost.seconds for cost in found), 1), ""])
    headings = ["stage", "stages", "failed", "seconds", "samples/s"]
    return markdown_table(headings, rows, [False, True, True, True, True])


def _shared(run: Run) -> str:
    saved = savings(run)
    return (
        f"**shared**: one by one, with stages of their own, the {counted(saved.trials, 'trial')} would have taken "
        f"{decimal(saved.apart_seconds, 1)} s; sharing saved {decimal(saved.apart_seconds - saved.spent_seconds, 1)} s."
    )


def _resumed(run: Run) -> str:
    saved = savings(run)
    if not saved.starts:
        return "**resumed**: unknown, for it was not noted when the run was started."
    if saved.starts == 1:
        return "**resumed**: nothing, for the run was started once."
    return (
        f"**resumed**: of {saved.starts:,} starts the last found {counted(saved.kept_stages, 'stage')} done, and did "
        f"not spend their {decimal(saved.kept_seconds, 1)} s again."
    )


def _between(run: Run) -> str:
    found = wall(run)
    if found is None:
        return "**outside the stages**: unknown, for it was not noted to the millisecond when the run and stages began."
    text = (
        f"**outside the stages**: {percent(found.outside, 1)} % of {decimal(found.seconds, 1)} s of wall time, from "
        "each start of the run to the end of its last stage: importing libraries, checking data and networks, writing "
        "records."
    )
    again = sum(record.attempt > 1 for record in stages(run).values())
    if again:
        text += f" Earlier attempts of {counted(again, 'stage')} that were tried again are in it."
    return text
