"""What a run cost: seconds by stage, each stage counted once however many trials share it."""

from dataclasses import dataclass

from sparsebench.records import STAGE_KINDS, CompressResult, Run
from sparsebench.report.findings import stages
from sparsebench.report.numbers import decimal
from sparsebench.report.tables import markdown_table


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
