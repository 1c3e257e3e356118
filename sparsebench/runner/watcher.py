"""Who is told how a run goes on."""

import sys
from collections.abc import Mapping, Sequence

from sparsebench.runner.graph import StageStatus
from sparsebench.runner.plan import Plan, Stage
from sparsebench.store.records import StageRecord
from sparsebench.store.results import EpochRecord

VERBS: Mapping[str, str] = {
    "train": "training",
    "compress": "compressing",
    "evaluate": "evaluating",
    "measure": "timing",
    "sensitivity": "pruning layer by layer",
}
"""What is done in each kind of stage."""


class Watcher:
    """Is told how a run goes on. Its methods do next to nothing; a subclass overrides those that it needs."""

    def planned(self, plan: Plan, status: Mapping[str, StageStatus]) -> None:
        """Called once, before any work, with where each stage stands; those that are pending are to be run."""

    def parallel(self, slots: int) -> None:
        """Called once after ``planned``, with how many stages may run at once."""

    def started(self, stage: Stage) -> None:
        """Called before a stage."""

    def together(self, stages: Sequence[Stage]) -> None:
        """Called before stages that are timed together, after ``started`` was for each of them."""

    def epoch(self, stage: Stage, epoch: EpochRecord, epochs: int) -> None:
        """Called after each epoch of training, where the trainer tells."""

    def timed(self, stages: Sequence[Stage], text: str) -> None:
        """Called a few times a second while stages are timed together, with where their session stands."""

    def said(self, line: str) -> None:
        """Called with what code in a worker process wrote to stdout or stderr, line by line."""
        print(line, file=sys.stderr)

    def noted(self, text: str) -> None:
        """Called with what else a person should know of the run: that it goes on elsewhere, or mends something."""

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Called after a stage was committed, done or failed."""

    def skipped(self, stage: Stage) -> None:
        """Called for a stage that cannot run because one before it failed."""
