"""What a run cost: seconds by stage, each stage counted once however many trials share it."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sparsebench.records import STAGE_KINDS, CompressResult, Run
from sparsebench.report.findings import stages
from sparsebench.report.numbers import decimal, percent
from sparsebench.report.tables import markdown_table

PAUSE_SECONDS = 60.0
"""Where no stage ran for longer than this, the run was stopped and started again."""


@dataclass(frozen=True)
class Cost:
    """Stages of one kind, how many of them failed, and their seconds; ``calibration_seconds`` is part of compress."""

    stage: str
    stages: int
    failed: int
    seconds: float
    calibration_seconds: float = 0.0


def costs(run: Run) -> tuple[Cost, ...]:
    """Return the cost of each kind of stage, in the order in which stages run."""
    records = stages(run).values()
    found = []
    for kind in STAGE_KINDS:
        of_kind = [record for record in records if record.stage == kind]
        calibration = (r.result.calibration_seconds for r in of_kind if isinstance(r.result, CompressResult))
        failed = sum(record.status == "failed" for record in of_kind)
        found.append(Cost(kind, len(of_kind), failed, sum(r.seconds for r in of_kind), sum(calibration)))
    return tuple(found)


def costs_table(run: Run) -> str:
    """Return the costs as a table with a total."""
    found = costs(run)
    rows = []
    for cost in found:
        rows.append([cost.stage, f"{cost.stages:,}", f"{cost.failed:,}", decimal(cost.seconds, 1)])
        if cost.stage == "compress":
            rows.append(["of which calibration", "", "", decimal(cost.calibration_seconds, 1)])
    total = [sum(cost.stages for cost in found), sum(cost.failed for cost in found)]
    rows.append(["total", f"{total[0]:,}", f"{total[1]:,}", decimal(sum(cost.seconds for cost in found), 1)])
    return markdown_table(["stage", "stages", "failed", "seconds"], rows, [False, True, True, True])


@dataclass(frozen=True)
class Elapsed:
    """Seconds from the start of the first stage to the end of the last, without ``pauses``; in ``idle`` none ran."""

    seconds: float
    idle: float
    pauses: int


def elapsed(run: Run) -> Elapsed | None:
    """Return how long a run took, None where its records do not say exactly when their stages began."""
    records = stages(run).values()
    if not records or not all("." in record.started_at for record in records):
        return None
    # Each of the networks that were timed together has its share of the seconds since their common start.
    taken: dict[tuple[str, ...], float] = defaultdict(float)
    for record in records:
        own = () if record.stage == "measure" else (record.key,)
        taken[record.started_at, record.stage, *own] += record.seconds
    spans = sorted((datetime.fromisoformat(of[0]).timestamp(), seconds) for of, seconds in taken.items())
    begin = end = spans[0][0]
    idle, pauses, paused = 0.0, 0, 0.0
    for start, seconds in spans:
        gap = max(0.0, start - end)
        if gap > PAUSE_SECONDS:
            pauses, paused = pauses + 1, paused + gap
        else:
            idle += gap
        end = max(end, start + seconds)
    return Elapsed(end - begin - paused, idle, pauses)


def elapsed_sentence(run: Run) -> str:
    """Return how long a run took and how much of that no stage ran, as a sentence; empty where it is not known."""
    found = elapsed(run)
    if found is None or not found.seconds:
        return ""
    pauses = f", {found.pauses} pause{'s' * (found.pauses > 1)} left out" if found.pauses else ""
    share = percent(found.idle / found.seconds, 1)
    return (
        f"From the start of the first stage to the end of the last it took {decimal(found.seconds, 1)} s{pauses}; "
        f"{share} % of that passed outside of stages."
    )
