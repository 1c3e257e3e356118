"""What travels between the runner and those who do the work: tasks there, news of them back. All of it is picklable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsebench.runner.plan import Stage
from sparsebench.store.results import EpochRecord


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker builds its bench from; the same for all tasks of a run.

    Attributes:
        root: the run directory, absolute; everything that a task reads and writes lies in it.
        folder: the working directory of the command, absolute: modules of the user's own are found there, and relative
            paths in the config start there.
        device: where training runs, as torch names it; the CPU where there is no such GPU.
        how: settings of trainers that make no other networks, by the names in ``HOW_TRAINING_RUNS``.
        calibration_batches: the most that any stage of the run asks for.
        hang_seconds: a timing process that stays at one network for longer is ended.
        live: the names of objects of this process that stages need, see ``sparsebench.live``. Workers are sent what
            they name when they are started.
    """

    root: Path
    folder: Path
    device: str
    how: Mapping[str, object]
    calibration_batches: int
    hang_seconds: float
    live: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a task needs while it runs.

    Attributes:
        threads: threads of torch inside one operation; None for as many as the worker has by itself. Results depend on
            it, and records hold it.
        gpu: whether it uses a GPU, where the worker has one: it trains, and the config asks for a GPU.
        exclusive: whether nothing else of ours may run on the machine meanwhile, as timing asks for.
    """

    threads: int | None = None
    gpu: bool = False
    exclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one worker does in one go: a stage, or the stages that are timed together.

    Attributes:
        stages: at least one; all that they build on is done.
        attempts: how often each of them had been tried when the run was planned. A record of a later attempt is that of
            another driver on the same directory, and is taken as it is.
        setup: what the worker builds its bench from.
        needs: what it needs.
        priority: of the tasks that wait, the one with the lowest runs first: the place in the plan.
        affinity: tasks of equal affinity share a trained network. A worker that goes on with the affinity that it had
            need not read training batches again.
        trains: whether it trains a network, which takes longest.
        opens_training: whether other networks are trained from what it trains.
        limit_seconds: it is ended when it runs for longer than this, and has failed; None for no limit.
    """

    stages: tuple[Stage, ...]
    attempts: tuple[int, ...]
    setup: Setup
    needs: Needs
    priority: int
    affinity: str
    trains: bool = False
    opens_training: bool = False
    limit_seconds: float | None = None

    @property
    def key(self) -> str:
        """What tells the task from all others of the run."""
        return self.stages[0].key

    @property
    def over_limit(self) -> str:
        """Why it was ended where it ran for longer than it may, and what to do where it needs longer."""
        limit = self.limit_seconds or 0.0
        return (
            f"It ran for longer than {limit:g} s and was ended: run.stage_seconds allows "
            f"{limit / len(self.stages):g} s a stage. Where it needs longer, raise that with --set "
            "run.stage_seconds=SECONDS, and run again with --retry-failed."
        )


@dataclass(frozen=True)
class News:
    """What is told of one task, by its key."""

    key: str


@dataclass(frozen=True)
class Started(News):
    """A worker begins with a task."""


@dataclass(frozen=True)
class Trained(News):
    """An epoch of training has ended, of so many."""

    epoch: EpochRecord
    epochs: int


@dataclass(frozen=True)
class Timed(News):
    """Networks that are timed together have come so far, in words for a display."""

    text: str


@dataclass(frozen=True)
class Noted(News):
    """A person should know this of a task that goes on."""

    text: str


@dataclass(frozen=True)
class Said:
    """A line that the user's code, or a library, wrote to stdout or stderr in a worker."""

    line: str


Event = News | Said

Tell = Callable[[Event], None]
"""Takes news of tasks; called in the thread that waits for them."""
