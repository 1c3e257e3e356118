"""Simulated comparisons of two runs: how often a gate breaks though nothing changed, and which losses it finds.

Both runs train every network anew. A tenth of the samples is hard: a training is right at half of them, more or less as
its luck is, so that two trainings of one network differ at one sample in twenty. Rows are networks of their own.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsebench.statistics.differences import Estimate, paired
from sparsebench.statistics.verdicts import LEVEL, holm

Floats = NDArray[np.float64]

COMPARISONS = 1000
CHUNK = 100
ROWS = (1, 20)
SEEDS = (2, 3, 5)
SAMPLES = (360, 2000, 10_000)
DEVIATIONS = (0.002, 0.004, 0.006)
"""Of the true accuracy from one training to the next."""

LIMIT = 0.005
"""``accuracy_drop>0.5pp``."""

LOSSES = (0.01, 0.02, 0.04)
HARD = 0.1


class Row(NamedTuple):
    """Estimates for these networks and for another training, with the estimate itself."""

    value: Floats
    these: Estimate
    other: Estimate


def simulate(rows: int, seeds: int, comparisons: int = COMPARISONS) -> dict[str, Any]:
    """Return a piece: of each number of samples and deviation how often a gate is broken."""
    cells = []
    for place, (samples, deviation) in enumerate(itertools.product(SAMPLES, DEVIATIONS)):
        sums: dict[str, float] = {}
        for start in range(0, comparisons, CHUNK):
            random = np.random.default_rng([rows, seeds, place, start])
            count = min(CHUNK, comparisons - start)
            for name, value in _broken(samples, deviation, (count, rows), seeds, random).items():
                sums[name] = sums.get(name, 0.0) + value
        shares = {name: value / comparisons for name, value in sums.items()}
        cells.append({"samples": samples, "deviation": deviation, **shares})
    return {"rows": rows, "seeds": seeds, "comparisons": comparisons, "cells": cells}


def _broken(
    samples: int, deviation: float, shape: tuple[int, int], seeds: int, random: np.random.Generator
) -> dict[str, float]:
    """Return how many comparisons break the gate, by either interval, and how many find a loss of the first row."""
    same = _row(samples, deviation, 0.0, shape, seeds, random)
    p = same.other.p_value()
    found = {
        "broken": _breaks(same.value, p).any(axis=-1).sum(),
        "broken_these": _breaks(same.value, same.these.p_value()).any(axis=-1).sum(),
        "contradictions": _contradictions(same.other, p),
        "finds": 100 * np.maximum(same.other.reach(LEVEL / shape[1]), LIMIT).mean(axis=-1).sum(),
    }
    for loss in LOSSES:
        one = _row(samples, deviation, loss, (shape[0], 1), seeds, random)
        values = np.concatenate([one.value, same.value[:, 1:]], axis=-1)
        p_values = np.concatenate([one.other.p_value(), p[:, 1:]], axis=-1)
        found[f"found {loss}"] = _breaks(values, p_values)[:, 0].sum()
    return {name: float(value) for name, value in found.items()}


def _breaks(values: Floats, p_values: Floats) -> NDArray[np.bool_]:
    return np.asarray((values > LIMIT) & (holm(p_values) <= LEVEL))


def _contradictions(found: Estimate, p_values: Floats) -> int:
    low, high = found.limits()
    return int(np.sum((p_values <= LEVEL) != ((low > 0) | (high < 0))))


def _row(
    samples: int, deviation: float, loss: float, shape: tuple[int, ...], seeds: int, random: np.random.Generator
) -> Row:
    """Draw rows: whether each sample is right, by the seeds before and then by those after."""
    columns = 2 * seeds
    shift = deviation * random.standard_normal((*shape, columns, 1), dtype=np.float32)
    shift[..., seeds:, :] -= loss
    hard = random.binomial(samples, HARD, shape)
    width = int(hard.max())
    right = random.random((*shape, columns, width), dtype=np.float32) < 0.5 + shift / HARD
    right &= (np.arange(width) < hard[..., None])[..., None, :]
    table = right.astype(np.float32)
    easy = (samples - hard).astype(np.float64)  # Always right.
    sums = table.sum(axis=-1, dtype=np.float64) + easy[..., None]
    products = table @ np.swapaxes(table, -1, -2) + easy[..., None, None]
    these, other = paired(samples, sums, products, sides=2)
    value = (sums[..., :seeds].mean(axis=-1) - sums[..., seeds:].mean(axis=-1)) / samples
    assert other is not None
    return Row(value, these, other)


def missing(done: Sequence[Mapping[str, Any]], comparisons: int) -> Iterator[tuple[int, int]]:
    """Yield the pieces that are not among those that are done."""
    have = {(one["rows"], one["seeds"]) for one in done if one["comparisons"] >= comparisons}
    yield from ((rows, seeds) for rows in ROWS for seeds in SEEDS if (rows, seeds) not in have)
