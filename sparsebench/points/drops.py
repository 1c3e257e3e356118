"""What is lost from one evaluation to another, sample by sample where both left what each sample got.

A loss is above 0 where the second is worse, whichever way the metric has. It is in the unit in which the metric is
read: percentage points of accuracy and other shares.
"""

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from sparsebench.points.measured import Measurements, other_scale, over_seeds, samples_of
from sparsebench.points.measured import Term as Term
from sparsebench.statistics.differences import Estimate, averaged, of_these, paired, unpaired
from sparsebench.store.results import EvaluateResult
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.numbers import DASH
from sparsebench.wording.scales import loss_limits, loss_number

UNPAIRED = "†"

THESE_NETWORKS = "these networks"
ANOTHER_TRAINING = "another training"
"""What the two intervals are over: other test samples alone, or other test samples and other trainings."""


@dataclass(frozen=True)
class Limits:
    """A 95 % interval of a loss, and the p-value of "there is no difference" that belongs to it.

    The p-value is at most 5 % where the interval leaves 0 out, and only there.
    """

    low: float
    high: float
    p_value: float

    def row(self, scale: Scale) -> dict[str, float]:
        """Return it as plain values, percentage points named as such."""
        return {f"low{scale.suffix}": self.low, f"high{scale.suffix}": self.high, "p_value": self.p_value}


@dataclass(frozen=True)
class Drop:
    """What is lost against a baseline, the mean over seeds; positive is a loss.

    Attributes:
        loss: the loss, in the unit of the scale: percentage points of shares.
        these_networks: the interval over other test samples, for the networks that were trained.
        another_training: that over other test samples and other trainings, which is what a new training of the same
            sweep may bring; None of one seed, which tells nothing of others.
        paired: whether all sides left per-sample correctness, so that samples were compared one by one.
        unchanged: whether not one sample is known to differ.
        scale: of the metric that is lost.
    """

    loss: float
    these_networks: Limits
    another_training: Limits | None
    paired: bool
    unchanged: bool = False
    scale: Scale = ACCURACY

    def row(self) -> dict[str, Any]:
        """Return it as plain values, percentage points named as such."""
        other = self.another_training
        return {
            "pp" if self.scale.share else "loss": self.loss,
            "these_networks": self.these_networks.row(self.scale),
            "another_training": other and other.row(self.scale),
            "paired": self.paired,
            "unchanged": self.unchanged,
        }

    @property
    def judged(self) -> Limits:
        """The interval that a decision is made by: over another training, or these networks where there is one seed."""
        return self.another_training or self.these_networks

    @property
    def over(self) -> str:
        """What the judged interval is over."""
        return ANOTHER_TRAINING if self.another_training else THESE_NETWORKS

    @property
    def low(self) -> float:
        """Lower limit for these networks."""
        return self.these_networks.low

    @property
    def high(self) -> float:
        """Upper limit for these networks."""
        return self.these_networks.high


def drop_text(drop: Drop | None) -> str:
    """Return a drop with its interval for these networks; a dagger marks an interval that is not paired."""
    if drop is None:
        return DASH
    sure = drop.these_networks
    loss = loss_number(drop.scale, drop.loss, (sure.low, sure.high))
    return f"{loss} {limits_text(sure, drop.paired, drop.scale)}"


def limits_text(found: Limits | None, is_paired: bool = True, scale: Scale = ACCURACY) -> str:
    """Return an interval; a dagger marks one that is not paired, a dash stands for none."""
    if found is None or not math.isfinite(found.low) or not math.isfinite(found.high):
        return DASH
    return f"{loss_limits(scale, found.low, found.high)}{'' if is_paired else UNPAIRED}"


@dataclass(frozen=True)
class Joined:
    """A difference over seeds as numbers: its value, and its error for these networks and for another training.

    It is first − second, in the unit of records: of shares a fraction, and below 0 where the first is better of metrics
    of which less is.
    """

    value: float
    these_networks: Estimate
    another_training: Estimate | None
    paired: bool
    unchanged: bool
    scale: Scale = ACCURACY

    @property
    def judged(self) -> Estimate:
        """What a decision is made by."""
        return self.another_training or self.these_networks


def drops_of(found: Sequence[Joined]) -> list[Drop]:
    """Return differences as losses with their intervals, all at once, which is much faster."""
    these = _limits([(one.these_networks, one.scale) for one in found])
    others = iter(_limits([(one.another_training, one.scale) for one in found if one.another_training]))
    return [
        Drop(
            one.scale.loss_factor * one.value,
            limit,
            next(others) if one.another_training else None,
            one.paired,
            one.unchanged,
            one.scale,
        )
        for one, limit in zip(found, these, strict=True)
    ]


def _limits(found: Sequence[tuple[Estimate, Scale]]) -> list[Limits]:
    placed: dict[int, Limits] = {}
    for freedom, scale in {(one.freedom, scale) for one, scale in found}:
        places = [place for place, (one, own) in enumerate(found) if (one.freedom, own) == (freedom, scale)]
        parts = np.array([[float(part) for part in found[place][0][:4]] for place in places]).T
        joined = Estimate(parts[0], parts[1], parts[2], parts[3], freedom)
        ends = joined.limits()
        if scale.is_accuracy:
            # Two pseudo-samples may carry a limit beyond what accuracies can differ by.
            ends = np.clip(ends[0], -1.0, 1.0), np.clip(ends[1], -1.0, 1.0)
        low, high = (scale.loss_factor * end for end in (ends if scale.higher_is_better else ends[::-1]))
        rows = np.column_stack([low, high, joined.p_value()]).tolist()
        placed |= {place: Limits(*row) for place, row in zip(places, rows, strict=True)}
    return [placed[place] for place in range(len(found))]


class Bits(NamedTuple):
    """Per-sample correctness as the bits of one integer, and how many are 1."""

    bits: int
    right: int


class Correctness:
    """Reads and compares per-sample correctness, or what another metric left; what was read once is kept."""

    def __init__(self) -> None:
        self._bits: dict[str, Bits] = {}
        self._measured = Measurements()

    def lost(self, pairs: Sequence[tuple[EvaluateResult | None, EvaluateResult | None]]) -> Joined | None:
        """Return the metric lost from the first to the second, the mean over seeds, one pair each.

        Pairs of which one was not evaluated are left out; None where none is left.
        """
        columns = [((1, a), (-1, b)) for a, b in pairs if scored(a) and scored(b)]
        return self.joined(columns) if columns else None

    def drop(self, pairs: Sequence[tuple[EvaluateResult | None, EvaluateResult | None]]) -> Drop | None:
        """Return the same as a loss, with its intervals."""
        found = self.lost(pairs)
        return drops_of([found])[0] if found else None

    def joined(self, columns: Sequence[Sequence[Term]], sides: int = 1, same_data: bool = True) -> Joined:
        """Return the mean over seeds of signed sums of a metric, with its errors.

        Args:
            columns: the terms of each seed, all of which were scored; with two sides those of all seeds before and
                then those of all seeds after, which are subtracted.
            sides: 2 where the trainings before have nothing in common with those after.
            same_data: whether all are known to have read the same samples in the same order.
        """
        if scale := other_scale(columns):
            return Joined(*self._measured.joined(columns, sides, same_data), scale)
        by_seed, means, value = over_seeds(columns, sides)
        known = [self._signed(terms) for terms in columns]
        bits = [one for one in known if one is not None]
        samples = samples_of(columns) if same_data and len(bits) == len(columns) else 0
        if samples:
            sums, products = _products(bits)
            each = products if sides == 1 else [[_square(self._signed(terms) or [])] for terms in by_seed]
            unchanged = not any(row[s if sides == 1 else 0] for s, row in enumerate(each))
            if len(columns) == 1:
                return Joined(value, of_these(samples, sums[0], products[0][0]), None, True, unchanged)
            return Joined(value, *paired(samples, sums, products, sides), True, unchanged)
        found = [self._of_one(terms, same_data) for terms in by_seed]
        these, other = averaged([one for one, _ in found], [means[: len(by_seed)], means[len(by_seed) :]][:sides])
        return Joined(value, these, other, all(is_paired for _, is_paired in found), False)

    def _of_one(self, terms: Sequence[Term], same_data: bool) -> tuple[Estimate, bool]:
        """Return the difference of one seed, and whether it is paired."""
        bits, samples = self._signed(terms), samples_of([terms])
        if same_data and bits is not None and samples:
            return paired(samples, *_products([bits]))[0], True
        signs, results = zip(*terms, strict=True)
        read = [result.samples for result in results]
        return unpaired([result.value * result.samples for result in results], read, signs), False

    def _signed(self, terms: Sequence[Term]) -> list[tuple[int, Bits]] | None:
        found = [(sign, bits) for sign, result in terms if (bits := self.bits(result)) is not None]
        return found if len(found) == len(terms) else None

    def bits(self, result: EvaluateResult) -> Bits | None:
        """Return per-sample correctness as the bits of one integer, or None where it is not there or does not fit.

        It is read here without unpacking it to a tuple (``EvaluateResult.correct``), which a report of thousands of
        trials would spend most of its time on. Bits that do not add up to the accuracy come from a trainer that left
        them over from another evaluation; such a trial is compared unpaired.
        """
        packed = result.correct_bits
        if packed is None:
            return None
        if packed not in self._bits:
            bits = int.from_bytes(zlib.decompress(base64.b64decode(packed)), "big")
            self._bits[packed] = Bits(bits, bits.bit_count())
        found = self._bits[packed]
        return found if abs(found.right - result.value * result.samples) < 0.5 else None


def _products(columns: Sequence[Sequence[tuple[int, Bits]]]) -> tuple[list[int], list[list[int]]]:
    """Return the sum over samples of each column of signed bits, and of the product of any two."""
    sums = [sum(sign * bits.right for sign, bits in terms) for terms in columns]
    products = [[0] * len(columns) for _ in columns]
    for i, first in enumerate(columns):
        for j, second in enumerate(columns[:i]):
            products[i][j] = products[j][i] = _product(first, second)
        products[i][i] = _square(first)
    return sums, products


def _product(first: Sequence[tuple[int, Bits]], second: Sequence[tuple[int, Bits]]) -> int:
    found = 0
    for sign, (bits, _) in first:
        for other, (theirs, _) in second:
            found += sign * other * (bits & theirs).bit_count()
    return found


def _square(terms: Sequence[tuple[int, Bits]]) -> int:
    found = sum(bits.right for _, bits in terms)  # Signs are 1 or −1.
    for place, term in enumerate(terms):
        found += 2 * _product([term], terms[:place])
    return found


def scored(result: EvaluateResult | None) -> TypeGuard[EvaluateResult]:
    """Whether there is an accuracy, or another metric."""
    return result is not None and math.isfinite(result.value) and result.samples > 0
