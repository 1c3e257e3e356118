"""What a person sees while a run goes on: a live bar in a terminal, plain lines elsewhere. Both go to stderr."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from sparsebench.cli.forecast import Tally, clock
from sparsebench.errors import printable
from sparsebench.runner.graph import StageStatus
from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.watcher import Watcher
from sparsebench.store.records import StageRecord, failure_line
from sparsebench.store.results import EpochRecord, EvaluateResult, TrainResult
from sparsebench.store.timings import MeasureResult

VERBS = {
    "train": "training",
    "compress": "compressing",
    "evaluate": "evaluating",
    "measure": "timing",
    "sensitivity": "pruning layer by layer",
}

_MOST_LINES = 12
"""Of the stages that are run at once, so many are shown."""


class Display(Watcher):
    """What a live bar and a log have in common: how far the run is, and what is said of it."""

    def __init__(self) -> None:
        self.tally = Tally()

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        """Say what is done and what is left."""
        self.tally.planned(plan.stages, status)
        self._say(opening(plan, status))
        self._advance()

    def parallel(self, slots: int) -> None:
        """Expect the end the sooner."""
        self.tally.slots = slots

    def said(self, line: str) -> None:
        """Pass on what the user's code wrote."""
        self._say(line)

    def noted(self, text: str) -> None:
        """Say what else there is to know."""
        self._say(text, style="yellow")

    def skipped(self, stage: Stage) -> None:
        """Count a stage that cannot run."""
        self.tally.end(stage, "skipped")
        self._advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the last state as it is."""

    def _say(self, text: str, style: str | None = None) -> None:
        raise NotImplementedError

    def _advance(self) -> None:
        """Show how far the run is, where that is always in sight."""


def watcher_for(stream: TextIO | None = None) -> Display:
    """Return the live bar where ``stream`` (stderr by default) is a terminal, plain lines elsewhere."""
    stream = stream or sys.stderr
    return Bar(stream) if stream.isatty() else Lines(stream)


class Lines(Display):
    """One line for each finished stage, for logs."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Say how a stage ended."""
        self.tally.finished(stage, record)
        left = self.tally.seconds_left()
        ahead = f", {clock(left)} left" if left is not None else ""
        self._say(f"[{self.tally.settled}/{self.tally.total}{ahead}] {outcome(stage, record)}")

    def _say(self, text: str, style: str | None = None) -> None:
        del style  # a log has no colours
        print(printable(text), file=self.stream, flush=True)


class Bar(Display):
    """Live lines: how far the sweep is with time spent and left, and below it each stage that is run now.

    ``lines`` holds since when a stage has run, what it is, and how its training goes.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.console = Console(file=stream)
        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counts]} ·"),
            TimeElapsedColumn(),
            _LeftColumn(),
            console=self.console,
        )
        self.sweep = self.bar.add_task("sweep", total=None, counts="checking", end=None)
        self.lines: dict[str, tuple[float, str, str]] = {}
        self.live = Live(self, console=self.console, refresh_per_second=8)

    def started(self, stage: Stage) -> None:
        """Give a stage a line of its own."""
        self.tally.running.add(stage.key)
        self.lines[stage.key] = time.monotonic(), f"{VERBS[stage.kind]} {stage.label}", ""
        self._advance()

    def together(self, stages: Sequence[Stage]) -> None:
        """Give stages that are timed together one line."""
        batch, threads = (stages[0].settings[name] for name in ("batch_size", "threads"))
        for stage in stages:
            self.lines.pop(stage.key, None)
        label = f"timing {len(stages)} networks together · batch {batch} · threads {threads}"
        self.lines[stages[0].key] = time.monotonic(), label, ""

    def timed(self, stages: Sequence[Stage], text: str) -> None:
        """Show where their session stands."""
        if line := self.lines.get(stages[0].key):
            self.lines[stages[0].key] = *line[:2], f" · {text}"

    def epoch(self, stage: Stage, epoch: EpochRecord, epochs: int) -> None:
        """Show how training goes."""
        since, label, _ = self.lines[stage.key]
        state = f" · epoch {epoch.epoch}/{epochs}"
        if epoch.val_accuracy is not None:
            state += f" · val {100 * epoch.val_accuracy:.1f} %"
        if epoch.threshold is not None:
            state += f" · sparsity {100 * epoch.threshold:.0f} %"
        self.lines[stage.key] = since, label, state

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Move on; a failure stays on the screen above the bar."""
        self.tally.finished(stage, record)
        self.lines.pop(stage.key, None)
        if record.status == "failed":
            self._say(outcome(stage, record), style="red")
        self._advance()

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(printable(text), style=style, highlight=False, markup=False, soft_wrap=True)

    def _advance(self) -> None:
        left = self.tally.seconds_left()
        end = None if left is None else time.monotonic() + left
        settled, total = self.tally.settled, self.tally.total
        self.bar.update(self.sweep, completed=settled, total=total, counts=str(self.tally), end=end)

    def __rich__(self) -> Group:
        # Drawn by a thread of its own; the copy is made at once.
        lines = list(self.lines.values())
        shown = [f"  {label}{state} · {clock(time.monotonic() - since)}" for since, label, state in lines[:_MOST_LINES]]
        if len(lines) > _MOST_LINES:
            shown.append(f"  … and {len(lines) - _MOST_LINES} more")
        return Group(self.bar, *(Text(line, no_wrap=True, overflow="ellipsis", style="dim") for line in shown))

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.lines.clear()
        self.bar.update(self.sweep, end=None)
        self.live.stop()


class SessionLine:
    """Where a timing session stands: one live line on stderr in a terminal, and its first words alone elsewhere."""

    def __init__(self, words: str, stream: TextIO | None = None) -> None:
        self._words, self._state, self._since = words, "", time.monotonic()
        self._stream = stream or sys.stderr
        self._console = Console(file=self._stream)
        self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)

    def step(self, text: str) -> None:
        """Show where it stands."""
        self._state = f" · {text}"

    def note(self, text: str) -> None:
        """Say what a person should know; it stays."""
        if self._stream.isatty():
            self._console.print(f"sparsebench: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        else:
            print(f"sparsebench: {text}", file=self._stream, flush=True)

    def __rich__(self) -> Text:
        line = f"sparsebench: {self._words}{self._state} · {clock(time.monotonic() - self._since)}"
        return Text(line, no_wrap=True, overflow="ellipsis")

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._live.start()
        else:
            self.note(f"{self._words} …")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._stream.isatty():
            self._live.stop()


class _LeftColumn(ProgressColumn):
    """The time left, which runs down between two forecasts."""

    def render(self, task: Task) -> Text:
        end = task.fields["end"]
        return Text("" if end is None else f"· {clock(max(0.0, end - time.monotonic()))} left")


def opening(plan: Plan, status: Mapping[str, StageStatus]) -> str:
    """Return the first line of a run: how much there is and how much of it is done."""
    counts = Counter(status.values())
    parts = [f"{counts[state]} {state}" for state in ("done", "pending", "failed", "skipped") if counts[state]]
    missing = sum(trial.not_offered is not None for trial in plan.trials)
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
            tail = f"{result.shown_ms:.3f} ms, {result.against.speedup:.2f}× {result.against.baseline}"
        case None:
            tail = failure_line(record)
        case _:
            tail = "done"
    return f"{head}{tail} ({record.seconds:.1f} s)"
