"""What is known exactly of a trial, None where it was not measured."""

from sparsebench.store.run import TrialResult


def file_bytes(trial: TrialResult) -> float | None:
    """Return the size of the saved file."""
    return trial.compressed.size.file_bytes if trial.compressed else None


def deflated_file_bytes(trial: TrialResult) -> float | None:
    """Return the size of the saved file after DEFLATE."""
    return trial.compressed.size.deflated_file_bytes if trial.compressed else None


def effective_macs(trial: TrialResult) -> float | None:
    """Return multiply-accumulates with a non-zero weight, for one sample."""
    return trial.trained.effective_macs if trial.trained else None


def working_memory_bytes(trial: TrialResult) -> float | None:
    """Return the working memory at batch 1, without weights."""
    return trial.compressed.working_memory_bytes if trial.compressed else None
