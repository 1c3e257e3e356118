"""What a person sees while a run goes on: a live bar in a terminal, plain lines elsewhere. Both go to stderr."""

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from sparsebench.plan import Plan, Stage
from sparsebench.records import EpochRecord, EvaluateResult, MeasureResult, StageRecord, TrainResult, failure_line
from sparsebench.runner import StageStatus, Watcher

VERBS = {
    "train": "training",
    "compress": "compressing",
    "evaluate": "evaluating",
    "measure": "timing",
    "sensitivity": "pruning layer by layer",
}


def watcher_for(stream: TextIO | None = None) -> "Bar | Lines":
    """Return the live bar where ``stream`` (stderr by default) is a terminal, plain lines elsewhere."""
    stream = stream or sys.stderr
    return Bar(stream) if stream.isatty() else Lines(stream)


class Forecast:
    """Time left, from the mean seconds that each kind of stage took in this run."""

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def finished(self, kind: str, seconds: float) -> None:
        """Take one stage off what is left and learn from it."""
        self.left[kind] -= 1
        self._seconds[kind].append(seconds)

    def seconds_left(self) -> float | None:
        """Return the seconds left, None while a kind that is still to come has never run."""
        total = 0.0
        for kind, count in self.left.items():
            if count > 0 and not self._seconds[kind]:
                return None
            if count > 0:
                total += count * sum(self._seconds[kind]) / len(self._seconds[kind])
        return total


class Lines(Watcher):
    """One line for each finished stage, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.total = 0
        self.done = 0
        self.forecast = Forecast()

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        """Say what is done and what is left."""
        self.total = len(plan.stages)
        self.done = sum(state == "done" for state in status.values())
        self.forecast.left = Counter(stage.kind for stage in plan.stages if status[stage.key] != "done")
        self._say(opening(plan, status))

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Say how a stage ended."""
        self.done += 1
        self.forecast.finished(stage.kind, record.seconds)
        left = self.forecast.seconds_left()
        ahead = f", {clock(left)} left" if left is not None else ""
        self._say(f"[{self.done}/{self.total}{ahead}] {outcome(stage, record)}")

    def skipped(self, stage: Stage) -> None:
        """Count a stage that cannot run."""
        self.done += 1
        self.forecast.left[stage.kind] -= 1

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.flush()

    def _say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bar(Watcher):
    """Two live lines: how far the sweep is with time spent and left, and below it the stage in hand."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream)
        self.forecast = Forecast()
        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("stages ·"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
        )
        self.sweep = self.bar.add_task("sweep", total=None, left="")
        self.now = Text(no_wrap=True, overflow="ellipsis", style="dim")
        self.label = ""
        self.live = Live(Group(self.bar, self.now), console=self.console, refresh_per_second=8)

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        """Set the bar to the state in which the run was found."""
        self.forecast.left = Counter(stage.kind for stage in plan.stages if status[stage.key] != "done")
        done = sum(state == "done" for state in status.values())
        self.console.print(opening(plan, status), highlight=False, markup=False)
        self.bar.update(self.sweep, total=len(plan.stages), completed=done)

    def started(self, stage: Stage) -> None:
        """Name the stage in hand."""
        self.label = f"  {VERBS[stage.kind]} {stage.label}"
        self.now.plain = self.label

    def together(self, stages: Sequence[Stage]) -> None:
        """Say how many networks are timed together."""
        batch, threads = (stages[0].settings[name] for name in ("batch_size", "threads"))
        self.now.plain = f"  timing {len(stages)} networks together · batch {batch} · threads {threads}"

    def epoch(self, epoch: EpochRecord, epochs: int) -> None:
        """Show how training goes."""
        self.now.plain = (
            f"{self.label} · epoch {epoch.epoch}/{epochs} · val {100 * epoch.val_accuracy:.1f} %"
            f" · sparsity {100 * epoch.threshold:.0f} %"
        )

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Move on; a failure stays on the screen above the bar."""
        self.forecast.finished(stage.kind, record.seconds)
        if record.status == "failed":
            self.console.print(outcome(stage, record), style="red", highlight=False, markup=False)
        self._advance()

    def skipped(self, stage: Stage) -> None:
        """Count a stage that cannot run."""
        self.forecast.left[stage.kind] -= 1
        self._advance()

    def _advance(self) -> None:
        left = self.forecast.seconds_left()
        self.bar.update(self.sweep, advance=1, left="" if left is None else f"· {clock(left)} left")

    def __enter__(self) -> "Bar":
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.now.plain = ""
        self.bar.update(self.sweep, left="")
        self.live.stop()


def opening(plan: Plan, status: Mapping[str, StageStatus]) -> str:
    """Return the first line of a run: how much there is and how much of it is done."""
    counts = Counter(status.values())
    offered = sum(trial.not_offered is None for trial in plan.trials)
    parts = [f"{counts[state]} {state}" for state in ("done", "pending", "failed", "skipped") if counts[state]]
    missing = len(plan.trials) - offered
    note = f" ({missing} not offered)" if missing else ""
    trials = f"{len(plan.trials)} trials{note} in " if plan.trials else ""
    return f"{trials}{len(plan.stages)} stages: {', '.join(parts)}."


def outcome(stage: Stage, record: StageRecord) -> str:
    """Return one line on how a stage ended."""
    head = f"{stage.kind} {stage.label}: "
    match record.result:
        case TrainResult() as result:
            reached = "" if result.val_accuracy is None else f"val {100 * result.val_accuracy:.2f} %, "
            tail = f"{reached}sparsity {100 * result.sparsity:.2f} %"
        case EvaluateResult() as result:
            tail = f"top-1 {100 * result.top1:.2f} %"
        case MeasureResult() as result:
            tail = f"{result.median_ms:.3f} ms, {1 / result.against.ratio:.2f}× {result.against.baseline}"
        case None:
            tail = failure_line(record)
        case _:
            tail = "done"
    return f"{head}{tail} ({record.seconds:.1f} s)"


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
