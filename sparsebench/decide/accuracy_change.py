"""How accuracy changed from one run to another: on the same test samples, wherever that is known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparsebench.decide.change import Change
from sparsebench.decide.matching import Group
from sparsebench.points.drops import Correctness, mean_drop
from sparsebench.statistics.accuracy import p_from_limits, sign_flip_test
from sparsebench.statistics.spread import mean
from sparsebench.store.results import EvaluateResult


def accuracy_drop(group: Group) -> Sequence[Change]:
    """Return top-1 lost, with the paired interval and the exact test over test samples where both left correctness."""
    reader = Correctness()
    scored = [
        (pair.before.evaluated, pair.after.evaluated, pair.same_data)
        for pair in group.pairs
        if pair.before.evaluated and pair.after.evaluated
    ]
    drops = [reader.drop(before, after, same) for before, after, same in scored]
    drop = mean_drop([one for one in drops if one])
    if drop is None:
        return ()
    differences = _differences(reader, [(b, a) for b, a, _ in scored]) if drop.paired else None
    p_value = p_from_limits(drop.pp, drop.low_pp, drop.high_pp) if differences is None else sign_flip_test(differences)
    return (
        Change(
            before=mean(before.top1 for before, _, _ in scored),
            after=mean(after.top1 for _, after, _ in scored),
            change=drop.pp,
            low=drop.low_pp,
            high=drop.high_pp,
            p_value=p_value,
            paired=drop.paired,
            pairs=len(drops),
        ),
    )


def _differences(
    reader: Correctness, scored: Sequence[tuple[EvaluateResult, EvaluateResult]]
) -> NDArray[np.int64] | None:
    """Return, for each test sample, how many more networks classified it rightly before than after.

    None where seeds did not read the same number of samples.
    """
    if len({result.samples for pair in scored for result in pair}) > 1:
        return None
    total = np.zeros(scored[0][0].samples, dtype=np.int64)
    for before, after in scored:
        total += _unpacked(reader, before) - _unpacked(reader, after)
    return total


def _unpacked(reader: Correctness, result: EvaluateResult) -> NDArray[np.int64]:
    raw = (reader.bits(result) or 0).to_bytes((result.samples + 7) // 8, "big")
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8))[: result.samples].astype(np.int64)
