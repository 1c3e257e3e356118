"""Zeros before and after quantization, and those that quantization would have made without any pruning."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sparsebench.store.run import TrialResult


class Zeros(NamedTuple):
    """Fractions of the weights of one network that are zero, over the layers known before and after quantization.

    ``before`` is counted in the float network and ``after`` in the network that runs. ``alone`` is after − before of
    the dense network of the same seed, scheme, backend and calibration: rounding to a grid makes zeros of small weights
    of its own accord. ``owed`` is after − alone: the sparsity that pruning may claim. Since the small weights that
    rounding would lose are mostly those that pruning has zeroed already, it is a lower bound. ``alone`` and ``owed``
    are None where the dense network was not brought into that scheme.
    """

    before: float
    after: float
    alone: float | None
    owed: float | None


def zeros_of(trial: TrialResult, dense: TrialResult | None) -> Zeros | None:
    """Return a trial's zeros against those of ``dense``, the dense network in the same format.

    With Z the zeros and W the weights of the layers that stand in the trained and in the running network alike, sums
    over layers, channels that were removed left out of both:

        before = Z_trained / W,  after = Z_running / W,  alone = after(dense) − before(dense),  owed = after − alone

    Returns:
        None where no layer can be found in both networks by its name.
    """
    shares = _shares(trial)
    if shares is None:
        return None
    own = _shares(dense) if dense else None
    alone = own[1] - own[0] if own else None
    return Zeros(*shares, alone, None if alone is None else shares[1] - alone)


def mean_zeros(found: Sequence[Zeros]) -> Zeros | None:
    """Return the means over seeds; what one of them does not know is unknown."""
    if not found:
        return None
    alone = [zeros.alone for zeros in found if zeros.alone is not None]
    owed = [zeros.owed for zeros in found if zeros.owed is not None]
    n = len(found)
    return Zeros(
        sum(zeros.before for zeros in found) / n,
        sum(zeros.after for zeros in found) / n,
        sum(alone) / n if len(alone) == n else None,
        sum(owed) / n if len(owed) == n else None,
    )


def zeros_row(zeros: Zeros | None) -> dict[str, Any]:
    """Return zeros as columns of data.csv; empty where they are not known."""
    return {
        "sparsity_before_quantization": zeros and zeros.before,
        "sparsity_after_quantization": zeros and zeros.after,
        "zeros_by_quantization_alone": zeros and zeros.alone,
        "sparsity_without_those": zeros and zeros.owed,
    }


def _shares(trial: TrialResult) -> tuple[float, float] | None:
    """Return the fractions of zeros before and after quantization."""
    if trial.trained is None or trial.compressed is None:
        return None
    known: dict[str, list[int]] = {}
    for row in trial.trained.layers:
        counts = known.setdefault(row.name, [0, 0])
        counts[0] += row.weights
        counts[1] += row.zeros
    weights = before = after = 0
    for layer in trial.compressed.layers:
        if layer.name in known:
            asked, zeros = known[layer.name]
            # Removed channels count as zeros of the trained network, and are not in the one that runs.
            removed = asked - layer.weights
            if 0 <= removed <= zeros:
                weights += layer.weights
                before += zeros - removed
                after += layer.zeros
    return (before / weights, after / weights) if weights else None
