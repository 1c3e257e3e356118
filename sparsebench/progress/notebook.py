"""Progress in a notebook: one output of the cell, renewed as the run goes on."""

import html
import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import rich

from sparsebench.errors import printable
from sparsebench.progress.display import Display, opening
from sparsebench.progress.forecast import clock
from sparsebench.runner.graph import StageStatus
from sparsebench.runner.plan import Plan, Stage
from sparsebench.runner.watcher import VERBS
from sparsebench.store.records import StageRecord
from sparsebench.store.results import EpochRecord

_SECONDS = 0.25
"""The output is renewed no more often: each time is a message to the page, which a notebook keeps."""

_MOST_LINES = 8

_WIDTH = "20em"


class Cell(Display):
    """A bar with what is run now; what a person should know stays below it.

    Args:
        show: shows HTML as a new output of the cell, and returns what renews it.
    """

    def __init__(self, show: Any = None) -> None:
        super().__init__()
        self._show = show or _output
        self._renew: Any = None
        self._lines: dict[str, str] = {}
        self._notes: list[tuple[str, bool]] = []
        self._since = time.monotonic()
        self._shown = -_SECONDS
        self._over = False

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        """Say what is left, and nothing where nothing is."""
        self.tally.planned(plan.stages, status)
        if any(state == "pending" for state in status.values()):
            self._say(opening(plan, status))

    def started(self, stage: Stage) -> None:
        """Name a stage."""
        self.tally.running.add(stage.key)
        self._lines[stage.key] = f"{VERBS[stage.kind]} {stage.label}"
        self._advance()

    def together(self, stages: Sequence[Stage]) -> None:
        """Name stages that are timed together once."""
        for stage in stages:
            self._lines.pop(stage.key, None)
        self._lines[stages[0].key] = f"timing {len(stages)} networks together"
        self._advance()

    def timed(self, stages: Sequence[Stage], text: str) -> None:
        """Show where their session stands."""
        self._lines[stages[0].key] = f"timing {len(stages)} networks together · {text}"
        self._advance()

    def epoch(self, stage: Stage, epoch: EpochRecord, epochs: int) -> None:
        """Show how training goes."""
        val = "" if epoch.val_accuracy is None else f" · val {100 * epoch.val_accuracy:.1f} %"
        self._lines[stage.key] = f"{VERBS[stage.kind]} {stage.label} · epoch {epoch.epoch}/{epochs}{val}"
        self._advance()

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Move on; a failure stays."""
        self.tally.finished(stage, record)
        self._lines.pop(stage.key, None)
        if record.status == "failed":
            self._say(self._outcome(stage, record), style="red")
        self._advance()

    def said(self, line: str) -> None:
        """Pass on what the user's code wrote, as the cell's own output."""
        print(printable(line))

    def __enter__(self) -> Self:
        # Libraries draw bars of their own on it, each an output of the cell, or a warning that widgets are missing.
        console = rich.get_console()
        self._console = console.is_jupyter, console.quiet
        console.is_jupyter, console.quiet = False, True
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the last state as it is."""
        console = rich.get_console()
        console.is_jupyter, console.quiet = self._console
        self._over = True
        self._lines.clear()
        if self._renew is not None:
            self._draw()

    def _say(self, text: str, style: str | None = None, whole_words: bool = False) -> None:
        del whole_words
        self._notes.append((printable(text), style is not None))
        self._draw()

    def _advance(self) -> None:
        if time.monotonic() - self._shown >= _SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._shown = time.monotonic()
        content = self._html()
        if self._renew is None:
            self._renew = self._show(content)
        else:
            self._renew(content)

    def _html(self) -> str:
        spent = clock(time.monotonic() - self._since)
        left = None if self._over else self.tally.seconds_left()
        times = f"{spent}" + (f" · {clock(left)} left" if left is not None else "")
        total = self.tally.total
        bar = (
            f'<progress value="{self.tally.settled}" max="{total}" style="width:{_WIDTH}"></progress> ' if total else ""
        )
        rows = [f"{bar}{html.escape(str(self.tally) if total else 'checking')} · {times}"]
        rows += [f"<small>{html.escape(line)}</small>" for line in list(self._lines.values())[:_MOST_LINES]]
        rows += [
            f'<small style="{"color:#b00" if marked else ""}">{html.escape(text)}</small>'
            for text, marked in self._notes
        ]
        return f'<div style="white-space:pre-wrap">{"<br>".join(rows)}</div>'


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    with suppress(ImportError, AttributeError):
        if "IPython" in sys.modules:
            shell = sys.modules["IPython"].get_ipython()
            return type(shell).__name__ == "ZMQInteractiveShell" or "google.colab" in type(shell).__module__
    return False


def _output(content: str) -> Any:
    """Show HTML below the cell; return what puts other HTML in its place."""
    page: Any = importlib.import_module("IPython.display")  # There is a notebook, and so is this.
    handle = page.display(page.HTML(content), display_id=True)
    return lambda renewed: handle.update(page.HTML(renewed))
