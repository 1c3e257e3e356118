"""How far a run is, and how long it will still take."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from sparsebench.graph import StageStatus
from sparsebench.plan import Stage
from sparsebench.records import StageKind, StageRecord


class Tally:
    """How many stages are done, running, waiting, failed and skipped.

    Attributes:
        total: all stages of the plan.
        done: those that are done, in this run or before.
        failed: those that failed.
        skipped: those that cannot run because one before them failed.
        running: the keys of those that are run now.
        forecast: knows how long the rest takes.
    """

    def __init__(self) -> None:
        self.total = self.done = self.failed = self.skipped = 0
        self.running: set[str] = set()
        self.forecast = Forecast()

    def planned(self, stages: Sequence[Stage], status: Mapping[str, StageStatus]) -> None:
        """Take the state in which the run begins."""
        counts = Counter(status.values())
        self.total = len(stages)
        self.done, self.failed, self.skipped = (counts[state] for state in ("done", "failed", "skipped"))
        self.forecast.expect([stage for stage in stages if status[stage.key] == "pending"])

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Take a stage that ended."""
        self.running.discard(stage.key)
        self.forecast.finished(stage.kind, record.seconds)
        if record.status == "done":
            self.done += 1
        else:
            self.failed += 1

    def skip(self, stage: Stage) -> None:
        """Take a stage that cannot run."""
        self.skipped += 1
        self.forecast.dropped(stage.kind)

    @property
    def settled(self) -> int:
        """How many stages will not be run any more."""
        return self.done + self.failed + self.skipped

    @property
    def waiting(self) -> int:
        """How many stages are still to be run."""
        return self.total - self.settled - len(self.running)

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in ("waiting", "failed", "skipped")}
        parts = [f"{count} {name}" for name, count in {"running": len(self.running), **counts}.items() if count]
        return " · ".join([f"{self.settled}/{self.total} stages", *parts])


class Forecast:
    """Time left, from the mean seconds that each kind of stage took in this run.

    Attributes:
        left: how many stages of each kind have not ended.
        slots: how many stages may run at once; timing always runs alone.
    """

    def __init__(self) -> None:
        self.left: Counter[StageKind] = Counter()
        self.slots = 1
        self._seconds: dict[StageKind, list[float]] = defaultdict(list)
        self._most_for_timing = 0.0

    def expect(self, stages: Sequence[Stage]) -> None:
        """Set what is to be run."""
        self.left = Counter(stage.kind for stage in stages)
        sessions = {stage.session: float(stage.settings["seconds_cap"]) for stage in stages if stage.kind == "measure"}
        self._most_for_timing = sum(sessions.values()) / max(1, self.left["measure"])

    def finished(self, kind: StageKind, seconds: float) -> None:
        """Take one stage off what is left and learn from it."""
        self.dropped(kind)
        self._seconds[kind].append(seconds)

    def dropped(self, kind: StageKind) -> None:
        """Take one stage off what is left."""
        self.left[kind] -= 1

    def seconds_left(self) -> float | None:
        """Return the seconds left, None while a kind that is still to come has never run.

        Timing that has never run is taken to last as long as it may.
        """
        shared = alone = 0.0
        for kind, count in self.left.items():
            if count < 1:
                continue
            each = self._mean(kind)
            if each is None:
                return None
            if kind == "measure":
                alone += count * each
            else:
                shared += count * each
        return shared / self.slots + alone

    def _mean(self, kind: StageKind) -> float | None:
        taken = self._seconds[kind]
        if taken:
            return sum(taken) / len(taken)
        return self._most_for_timing if kind == "measure" else None


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
