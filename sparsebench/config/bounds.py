"""What a config may hold at most: digits of a number, levels of lists and tables, and what numbers under its keys."""

from typing import Any

from sparsebench.config.sections import MAX_CALIBRATION_BATCHES

MOST_DIGITS = 1000
MOST_LEVELS = 32

TOO_DEEP = f"lists or tables lie more than {MOST_LEVELS} deep in each other, the most that is read"
TOO_LONG = f"a number has more than {MOST_DIGITS:,} digits, the most that is read"


def excess(value: Any) -> str | None:
    """Return what is more than is read, as part of a sentence; None where all is within bounds."""
    level, found = 0, [value]
    while found:
        if level > MOST_LEVELS:
            return TOO_DEEP
        if any(type(one) is int and abs(one) >= 10**MOST_DIGITS for one in found):
            return TOO_LONG
        inner = [list(one.values()) if isinstance(one, dict) else one for one in found if isinstance(one, dict | list)]
        found, level = [part for one in inner for part in one], level + 1
    return None


_BELOW_ONE = "allowed is 0 up to, not including, 1"
_UP_TO_ONE = "allowed is above 0, at most 1"
_OF_A_DAY = "allowed is above 0, at most 86400"
_FRACTION = "it is a fraction between 0 and 1, 0.01 for one percent"

RANGES = {
    "thresholds": "a threshold is the fraction of prunable weights that is zero: 0 (the dense control) up to, not "
    "including, 1",
    "seeds": "a seed is a whole number from 0 to 4294967295",
    "quantize.calibration_batches": f"allowed is 1 to {MAX_CALIBRATION_BATCHES}",
    "prune.hold": _BELOW_ONE,
    "train.epochs": "allowed is 0, which trains nothing, and above",
    "train.learning_gamma": _UP_TO_ONE,
    "measure.seconds_cap": _OF_A_DAY,
    "measure.precision": _FRACTION,
    "measure.band": _FRACTION,
    "measure.block_ms": "allowed is above 0, at most 60000",
    "measure.hang_seconds": _OF_A_DAY,
    "train.learning_warmup": _BELOW_ONE,
    "train.label_smoothing": _BELOW_ONE,
    "train.distill.alpha": _UP_TO_ONE,
    "train.checkpoint_seconds": "allowed is 0 and above",
    "ray.gpus": "allowed is above 0, at most 64",
    "ray.retries": "allowed is 0 to 100",
}
"""What numbers are allowed under a key, as an error says it."""
