"""What is said of a task that ran for longer than it may."""

from sparsebench.runner.tasks import Task


def over_limit(task: Task) -> str:
    """Return why a task was ended, and what to do where it needs longer."""
    limit = task.limit_seconds or 0.0
    return (
        f"It ran for longer than {limit:g} s and was ended: run.stage_seconds allows {limit / len(task.stages):g} s a "
        "stage. Where it needs longer, raise that with --set run.stage_seconds=SECONDS, and run again with "
        "--retry-failed."
    )
