"""Zeros before and after quantization, and those that quantization would have made without any pruning."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

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
    return Zeros._make(None if None in values else sum(values) / len(found) for values in zip(*found, strict=True))


def zeros_row(zeros: Zeros | None) -> dict[str, float | None]:
    """Return zeros as columns of data.csv; empty where they are not known."""
    names = "sparsity_before_quantization", "sparsity_after_quantization", "zeros_by_quantization_alone"
    return dict(zip((*names, "sparsity_without_those"), zeros or [None] * 4, strict=True))


def _shares(trial: TrialResult) -> tuple[float, float] | None:
    if trial.trained is None or trial.compressed is None:
        return None
    asked, zeros = Counter[str](), Counter[str]()
    for row in trial.trained.layers:
        asked[row.name] += row.weights
        zeros[row.name] += row.zeros
    # Removed channels count as zeros of the trained network, and are not in the one that runs.
    found = [
        (layer.weights, zeros[layer.name] - removed, layer.zeros)
        for layer in trial.compressed.layers
        if layer.name in asked and 0 <= (removed := asked[layer.name] - layer.weights) <= zeros[layer.name]
    ]
    weights, before, after = (sum(counts) for counts in zip(*found, strict=True)) if found else (0, 0, 0)
    return (before / weights, after / weights) if weights else None
