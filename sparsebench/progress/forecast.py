"""How far a run is, and how long it will still take."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from sparsebench.runner.graph import StageStatus
from sparsebench.runner.plan import Stage
from sparsebench.store.records import StageRecord

Sort = tuple[str, ...]
"""What stages have in common that take equally long: their kind first, then what they are about."""


class Tally:
    """How many stages are done, running, waiting, failed and skipped, and how long the rest will take.

    Time left is told from the seconds that stages of the same sort took in this run. Training lasts as long as it has
    epochs. Networks of another pruner, scheme or backend are taken for like those that have run, until one of their own
    has.

    Attributes:
        total: all stages of the plan.
        ended: those that are done, in this run or before, that failed, and that are skipped because one before failed.
        running: the keys of those that are run now.
        slots: how many stages may run at once; timing always runs alone.
    """

    def __init__(self) -> None:
        self.total = 0
        self.ended: Counter[str] = Counter()
        self.running: set[str] = set()
        self.slots = 1
        self._sorts: dict[str, tuple[Sort, int]] = {}
        self._left: dict[Sort, int] = defaultdict(int)
        self._seconds: dict[Sort, float] = defaultdict(float)
        self._amounts: dict[Sort, int] = defaultdict(int)
        self._most_for_timing = 0.0

    def planned(self, stages: Sequence[Stage], status: Mapping[str, StageStatus]) -> None:
        """Take the state in which the run begins, with all stages of its plan, parents first."""
        self.total = len(stages)
        self.ended = Counter(state for state in status.values() if state != "pending")
        for stage in stages:
            sort, amount = _sort(stage, self._sorts[stage.parent][0] if stage.parent else ()), _amount(stage)
            self._sorts[stage.key] = sort, amount
            if status[stage.key] == "pending":
                self._left[sort] += amount
        timed = [stage for stage in stages if stage.kind == "measure" and status[stage.key] == "pending"]
        sessions = {stage.session: float(stage.settings["seconds_cap"]) for stage in timed}
        self._most_for_timing = sum(sessions.values()) / max(1, len(timed))

    def finished(self, stage: Stage, record: StageRecord) -> None:
        """Take a stage that ended and, where it did what it should, learn from it."""
        self.running.discard(stage.key)
        self.end(stage, record.status)
        sort, amount = self._sorts[stage.key]
        if record.status == "done" and amount:
            for known in (sort, sort[:1]):
                self._seconds[known] += record.seconds
                self._amounts[known] += amount

    def end(self, stage: Stage, state: StageStatus) -> None:
        """Take one stage off what is left."""
        self.ended[state] += 1
        sort, amount = self._sorts[stage.key]
        self._left[sort] -= amount

    @property
    def settled(self) -> int:
        """How many stages will not be run any more."""
        return self.ended.total()

    def __str__(self) -> str:
        counts = {"running": len(self.running), "waiting": self.total - self.settled - len(self.running)}
        counts |= {name: self.ended[name] for name in ("failed", "skipped")}
        parts = [f"{count} {name}" for name, count in counts.items() if count]
        return " · ".join([f"{self.settled}/{self.total} stages", *parts])

    def in_short(self) -> str:
        """Return the same without what follows from the rest, for a narrow terminal."""
        problems = [f"{self.ended[name]} {name}" for name in ("failed", "skipped") if self.ended[name]]
        return " · ".join([f"{self.settled}/{self.total} stages", *problems])

    def seconds_left(self) -> float | None:
        """Return the seconds left, None while a kind that is still to come has never run.

        Timing that has never run is taken to last as long as it may.
        """
        shared = alone = 0.0
        for sort, amount in self._left.items():
            if amount < 1:
                continue
            each = self._each(sort)
            if each is None:
                return None
            if sort[0] == "measure":
                alone += amount * each
            else:
                shared += amount * each
        return shared / self.slots + alone

    def _each(self, sort: Sort) -> float | None:
        for known in (sort, sort[:1]):
            if self._amounts[known]:
                return self._seconds[known] / self._amounts[known]
        return self._most_for_timing if sort[0] == "measure" else None


def _sort(stage: Stage, parent: Sort) -> Sort:
    settings = stage.settings
    match stage.kind:
        case "train":
            pruner = settings["pruner"]["name"] if settings["pruner"] else ""
            return stage.kind, settings["model"]["name"], settings["data"]["name"], pruner
        case "compress":
            return stage.kind, *parent[1:3], settings["scheme"], settings["backend"]["name"]
        case "evaluate":
            return stage.kind, stage.settings["split"], *parent[1:]
        case _:
            return (stage.kind,)


def _amount(stage: Stage) -> int:
    """Return how much there is to do in a stage: the epochs of a training, of anything else one."""
    if stage.kind != "train":
        return 1
    # A checkpoint is loaded, not trained.
    epochs: int = 0 if stage.settings.get("weights") else stage.settings["train"]["epochs"]
    return epochs


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
