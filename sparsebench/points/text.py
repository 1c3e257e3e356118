"""Drops, speedups and verdicts as they stand in tables and sentences."""

from sparsebench.points.drops import Drop
from sparsebench.points.latency import INVALID, Speed
from sparsebench.statistics.verdicts import Verdict
from sparsebench.wording.numbers import DASH, decimal, limits

UNPAIRED = "†"


def drop_text(drop: Drop | None) -> str:
    """Return a drop with its interval; a dagger marks an interval that is not paired."""
    if drop is None:
        return DASH
    return f"{decimal(drop.pp)} {limits(drop.low_pp, drop.high_pp)}{'' if drop.paired else UNPAIRED}"


def speedup_text(speed: Speed | None) -> str:
    """Return a speedup with its interval; that of a baseline over itself has none."""
    if speed is None:
        return DASH
    if speed.verdict is Verdict.BASELINE:
        return "1"
    # As many digits as a difference of one percent needs.
    digits = 3 if speed.speedup < 10 else 1
    return f"{decimal(speed.speedup, digits)}× {limits(speed.low, speed.high, digits)}"


def verdict_text(speed: Speed | None) -> str:
    """Return what is said of a speedup: a verdict, INVALID, or that it is the baseline's."""
    if speed is None:
        return DASH
    if speed.verdict is Verdict.BASELINE:
        return "baseline" if speed.valid else f"baseline, {INVALID}"
    return speed.said
