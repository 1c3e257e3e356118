"""Accuracy lost from one evaluation to another, sample by sample where both left per-sample correctness."""

import base64
import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

from sparsebench.statistics.accuracy import Interval, paired_difference, unpaired_difference
from sparsebench.store.results import EvaluateResult
from sparsebench.wording.numbers import DASH, decimal, limits

UNPAIRED = "†"


class Drop(NamedTuple):
    """Accuracy lost against a baseline, in percentage points, with its 95 % limits; positive is a loss.

    ``paired`` says whether both sides left per-sample correctness, so that the interval is the paired one.
    """

    pp: float
    low_pp: float
    high_pp: float
    paired: bool


def drop_text(drop: Drop | None) -> str:
    """Return a drop with its interval; a dagger marks an interval that is not paired."""
    if drop is None:
        return DASH
    return f"{decimal(drop.pp)} {limits(drop.low_pp, drop.high_pp)}{'' if drop.paired else UNPAIRED}"


class Correctness:
    """Reads and compares per-sample correctness; what was read once is kept."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}

    def drop(self, before: EvaluateResult | None, after: EvaluateResult | None, same_data: bool = True) -> Drop | None:
        """Return top-1 lost from ``before`` to ``after``, None where one of them has no accuracy.

        It is paired only with ``same_data``: both are known to have read the same samples in the same order.
        """
        if not scored(before) or not scored(after):
            return None
        paired = self._paired(before, after) if same_data else None
        low, high = paired or unpaired_difference(
            before.top1 * before.samples, before.samples, after.top1 * after.samples, after.samples
        )
        return Drop(100.0 * (before.top1 - after.top1), 100.0 * low, 100.0 * high, paired is not None)

    def bits(self, result: EvaluateResult) -> int | None:
        """Return per-sample correctness as the bits of one integer, or None where it is not there or does not fit.

        It is read here without unpacking it to a tuple (``EvaluateResult.correct``), which a report of thousands of
        trials would spend most of its time on. Bits that do not add up to the accuracy come from a trainer that left
        them over from another evaluation; such a trial is compared unpaired.
        """
        packed = result.correct_bits
        if packed is None:
            return None
        if packed not in self._bits:
            self._bits[packed] = int.from_bytes(zlib.decompress(base64.b64decode(packed)), "big")
        bits = self._bits[packed]
        return bits if abs(bits.bit_count() - result.top1 * result.samples) < 0.5 else None

    def _paired(self, before: EvaluateResult, after: EvaluateResult) -> Interval | None:
        first, second = self.bits(before), self.bits(after)
        if first is None or second is None or before.samples != after.samples:
            return None
        both = (first & second).bit_count()
        only_first, only_second = first.bit_count() - both, second.bit_count() - both
        return paired_difference(both, only_first, only_second, after.samples - both - only_first - only_second)


def scored(result: EvaluateResult | None) -> TypeGuard[EvaluateResult]:
    """Whether there is an accuracy."""
    return result is not None and math.isfinite(result.top1) and result.samples > 0


def mean_drop(drops: Sequence[Drop]) -> Drop | None:
    """Return the drop over seeds, None where there are none.

    Limits are averaged and not pooled: every seed reads the same test samples, so counting them once for each seed
    would make the interval look narrower than it is.
    """
    if not drops:
        return None
    pp, low, high = (sum(values) / len(drops) for values in list(zip(*drops, strict=True))[:3])
    return Drop(pp, low, high, all(drop.paired for drop in drops))
