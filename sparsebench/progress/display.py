"""What a person sees while a run goes on: a live bar in a terminal, plain lines elsewhere. Both go to stderr."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from sparsebench.errors import printable
from sparsebench.progress.forecast import Tally, clock
from sparsebench.runner.graph import StageStatus
from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.watcher import VERBS, Watcher
from sparsebench.store.latencies import Latencies
from sparsebench.store.records import StageRecord, failure_line
from sparsebench.store.results import EpochRecord, EvaluateResult, TrainResult
from sparsebench.store.timings import MeasureResult
from sparsebench.wording.numbers import significant
from sparsebench.wording.scales import value_text
from sparsebench.wording.text import counted

_MOST_LINES = 12
"""Of the stages that are run at once, so many are shown."""

_MARGIN = 3
"""Columns that live lines leave free: a terminal echoes ^C behind the last of them, and were it wrapped, what is drawn
next would not lie over what was."""

_LONGEST_BAR, _SHORTEST_BAR = 24, 6
"""Characters of the bar; it is left out where there is room for less."""


class Display(Watcher):
    """What a live bar and a log have in common: how far the run is, and what is said of it."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._latencies = Latencies()

    def _outcome(self, stage: Stage, record: StageRecord) -> str:
        """Return one line on how a stage ended, with the latency that its report gives, as soon as that is known."""
        ms = None
        if isinstance(record.result, MeasureResult):
            timed = record.environment.machine, stage.parent, record.result
            self._latencies.add(timed)
            ms = self._latencies.on_axis(timed[0], record.result)
        return outcome(stage, record, ms)

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
        self._say(text, style="yellow", whole_words=True)

    def skipped(self, stage: Stage) -> None:
        """Count a stage that cannot run."""
        self.tally.end(stage, "skipped")
        self._advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the last state as it is."""

    def _say(self, text: str, style: str | None = None, whole_words: bool = False) -> None:
        raise NotImplementedError

    def _advance(self) -> None:
        """Show how far the run is, where that is always in sight."""


def watcher_for(stream: TextIO | None = None) -> Display:
    """Return the live bar where ``stream`` (stderr by default) is a terminal, plain lines elsewhere."""
    stream = stream or sys.stderr
    return Bar(stream) if getattr(stream, "isatty", bool)() else Lines(stream)


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
        self._say(f"[{self.tally.settled}/{self.tally.total}{ahead}] {self._outcome(stage, record)}")

    def _say(self, text: str, style: str | None = None, whole_words: bool = False) -> None:
        del style, whole_words  # a log has no colours, and wraps nothing
        print(printable(text), file=self.stream, flush=True)


class Bar(Display):
    """Live lines: how far the sweep is with time spent and left, and below it each stage that is run now.

    ``lines`` holds since when a stage has run, what it is, and how its training goes.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.console = Console(file=stream)
        self.lines: dict[str, tuple[float, str, str]] = {}
        self.live = Live(self, console=self.console, refresh_per_second=8)
        self._spinner = Spinner("dots")
        self._since = time.monotonic()
        self._end: float | None = None

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
        elif epoch.val_metric is not None:
            state += f" · val {significant(epoch.val_metric)}"
        if epoch.threshold is not None:
            state += f" · threshold {epoch.threshold:.2f}"
        self.lines[stage.key] = since, label, state

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Move on; a failure stays on the screen above the bar."""
        self.tally.finished(stage, record)
        self.lines.pop(stage.key, None)
        if record.status == "failed":
            self._say(self._outcome(stage, record), style="red")
        self._advance()

    def _say(self, text: str, style: str | None = None, whole_words: bool = False) -> None:
        self.console.print(printable(text), style=style, highlight=False, markup=False, soft_wrap=not whole_words)

    def _advance(self) -> None:
        left = self.tally.seconds_left()
        self._end = None if left is None else time.monotonic() + left

    def __rich__(self) -> Group:
        # Drawn by a thread of its own; the copy is made at once.
        lines, now, width = list(self.lines.values()), time.monotonic(), self.console.width - _MARGIN
        shown = [
            f"  {fitted(label, f'{state} · {clock(now - since)}', width - 2)}"
            for since, label, state in lines[:_MOST_LINES]
        ]
        if len(lines) > _MOST_LINES:
            shown.append(f"  … and {len(lines) - _MOST_LINES} more")
        return Group(self._head(now, width), *(Text(line, no_wrap=True, style="dim") for line in shown))

    def _head(self, now: float, width: int) -> RenderableType:
        """Return the first line: the bar gives way to the figures, and what is waiting to the time that is left."""
        times = f" · {clock(now - self._since)}"
        if self._end is not None:
            times += f" · {clock(max(0.0, self._end - now))} left"
        total, room = self.tally.total, width - 2  # for the spinner
        counts = str(self.tally) if total else "checking"
        if len(counts + times) > room:
            counts = self.tally.in_short()
        head = Table.grid(padding=(0, 1, 0, 0))
        longest = min(_LONGEST_BAR, room - len(counts + times) - 1)
        bars = [] if longest < _SHORTEST_BAR else [ProgressBar(total or None, self.tally.settled, width=longest)]
        head.add_row(self._spinner, *bars, Text(counts + times, no_wrap=True))
        return head

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, kind: object = None, *exception: object) -> None:
        self.lines.clear()
        self._end = None
        # Of a run that was stopped, what follows says how far it is; a bar that stood there would still seem to run.
        self.live.transient = kind is not None
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
        state = f"{self._state} · {clock(time.monotonic() - self._since)}"
        return Text(fitted(f"sparsebench: {self._words}", state, self._console.width - _MARGIN), no_wrap=True)

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._live.start()
        else:
            self.note(f"{self._words} …")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._stream.isatty():
            self._live.stop()


def fitted(label: str, state: str, width: int) -> str:
    """Return what something is and where it stands on one line: what changes stays, of the label the middle goes.

    A label begins with what is done, and ends with what tells it from its neighbours: ``training … · seed 2``.
    """
    room = width - len(state)
    if len(label) <= room:
        return f"{label}{state}"
    verb, _, rest = label.partition(" ")
    kept = room - len(verb) - 2
    return f"{verb} …{rest[-kept:]}{state}" if kept > 0 else f"{label[: max(0, room - 1)]}…{state}"[:width]


def opening(plan: Plan, status: Mapping[str, StageStatus]) -> str:
    """Return the first line of a run: how much there is and how much of it is done."""
    counts = Counter(status.values())
    parts = [f"{counts[state]} {state}" for state in ("done", "pending", "failed", "skipped") if counts[state]]
    missing = sum(trial.not_offered is not None for trial in plan.trials)
    note = f" ({missing} not offered)" if missing else ""
    trials = f"{counted(len(plan.trials), 'trial')}{note} in " if plan.trials else ""
    return f"{trials}{counted(len(plan.stages), 'stage')}: {', '.join(parts)}."


def outcome(stage: Stage, record: StageRecord, ms: float | None = None) -> str:
    """Return one line on how a stage ended; ``ms`` is the latency that a report shows, where it is known."""
    head = f"{stage.kind} {stage.label}: "
    match record.result:
        case TrainResult() as result:
            reached = "" if result.val_accuracy is None else f"val {100 * result.val_accuracy:.2f} %, "
            if result.val_metric is not None:
                reached = f"val {significant(result.val_metric, 4)}, "
            tail = f"{reached}sparsity {100 * result.sparsity:.2f} %"
        case EvaluateResult() as result:
            tail = f"{result.scale.short} {value_text(result.scale, result.value)}"
        case MeasureResult() as result:
            latency = "" if ms is None else f"{significant(ms)} ms, "
            tail = f"{latency}{result.against.speedup:.3f}× {result.against.baseline}"
        case None:
            tail = failure_line(record)
        case _:
            tail = "done"
    return f"{head}{tail} ({record.seconds:.1f} s)"
