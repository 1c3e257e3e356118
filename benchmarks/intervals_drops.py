"""Simulated drops, whose truth is known: how often both intervals hold it, and how wide they are.

Each training loses and wins samples by chance. How much it loses in the long run differs from training to training by
the deviation of the seeds; which samples it loses is its own affair, or that of the samples. A table of samples × seeds
is drawn as the counts of its patterns, of which there are 3 to the power of the seeds, so that 10,000 samples take no
longer than 360.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsebench.statistics.differences import paired
from sparsebench.statistics.verdicts import LEVEL

Floats = NDArray[np.float64]

TABLES = 4000
SEEDS = (1, 2, 3, 4, 5)
SAMPLES = (360, 1000, 3000, 10_000)
DEVIATIONS = (0.0, 0.002, 0.004, 0.007)
"""Of the true drop from one training to the next."""

DROPS = ((0.0, 0.025), (0.005, 0.025), (0.02, 0.06))
"""The mean drop, and the share of samples at which a network and its baseline differ."""

KINDS = {
    "any": "each training loses other samples",
    "hard": "each training loses other samples, of the tenth that is hard",
    "same": "all trainings lose mostly the same samples",
}

AGAIN = 0.9
"""Chance that a training loses a sample that is mostly lost."""

UNSTEADY = 0.05
"""Share of samples through which trainings differ, where they mostly lose the same ones."""


class Group(NamedTuple):
    """Samples that are lost and won with the same chances, each of shape (tables, seeds); ``share`` of all samples."""

    share: float
    lost: Floats
    won: Floats


def simulate(kind: str, seeds: int, tables: int = TABLES) -> dict[str, Any]:
    """Return a piece: of each number of samples, drop and deviation the shares of tables and the mean widths."""
    cells = []
    for place, (samples, (drop, differ), deviation) in enumerate(itertools.product(SAMPLES, DROPS, DEVIATIONS)):
        random = np.random.default_rng([list(KINDS).index(kind), seeds, place])
        truths = drop + deviation * random.standard_normal((tables, seeds))
        groups = _groups(kind, drop, differ, truths)
        means = sum(group.share * (group.lost - group.won) for group in groups).mean(axis=-1)
        found = _intervals(samples, *_drawn(groups, samples, random), means, drop)
        cells.append({"samples": samples, "drop": drop, "deviation": deviation, **found})
    return {"kind": kind, "seeds": seeds, "tables": tables, "cells": cells}


def _groups(kind: str, drop: float, differ: float, truths: Floats) -> list[Group]:
    if kind == "same":
        more = np.clip((truths - drop) / UNSTEADY, -1, 1)
        none, often = np.zeros_like(truths), np.full_like(truths, AGAIN)
        lost, won = (differ + drop) / 2 / AGAIN, (differ - drop) / 2 / AGAIN
        unsteady = Group(UNSTEADY, np.maximum(more, 0), np.maximum(-more, 0))
        return [Group(lost, often, none), Group(won, none, often), unsteady]
    share = 0.1 if kind == "hard" else 1.0
    losing = np.clip((1 + truths / differ) / 2, 0, 1)
    return [Group(share, differ / share * losing, differ / share * (1 - losing))]


def _drawn(groups: Sequence[Group], samples: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Return sums over samples of the columns, and of their products, of one table each."""
    tables, seeds = groups[0].lost.shape
    patterns = np.array(list(itertools.product((-1, 0, 1), repeat=seeds)))
    chances = np.zeros((tables, len(patterns)))
    for group in (*groups, Group(1 - sum(group.share for group in groups), *[np.zeros((tables, seeds))] * 2)):
        each = np.stack([group.won, 1 - group.won - group.lost, group.lost], axis=-1)
        part = np.ones((tables, len(patterns)))
        for seed in range(seeds):
            part *= each[:, seed, patterns[:, seed] + 1]
        chances += group.share * part
    counts = random.multinomial(samples, chances / chances.sum(axis=-1, keepdims=True))
    return counts @ patterns, np.einsum("tp,pi,pj->tij", counts, patterns, patterns, optimize=True)


def _intervals(samples: int, sums: Floats, products: Floats, means: Floats, drop: float) -> dict[str, Any]:
    these, other = paired(samples, sums, products)
    seeds = sums.shape[-1]
    alone = [paired(samples, sums[:, [s]], products[:, [s]][:, :, [s]])[0] for s in range(seeds)]
    reach = np.mean([one.reach() for one in alone], axis=0)
    found = {
        "these": _share(np.abs(means - these.centre) <= these.reach()),
        "these_half": float(these.reach().mean()),
        "averaged": _share(np.abs(drop - these.centre) <= reach),
        "averaged_these": _share(np.abs(means - these.centre) <= reach),
        "contradictions": _contradictions(these),
    }
    if other is not None:
        found |= {
            "another": _share(np.abs(drop - other.centre) <= other.reach()),
            "another_half": float(other.reach().mean()),
            "contradictions": found["contradictions"] + _contradictions(other),
        }
    return found


def _contradictions(found: Any) -> int:
    low, high = found.limits()
    return int(np.sum((found.p_value() <= LEVEL) != ((low > 0) | (high < 0))))


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean())


def missing(done: Sequence[Mapping[str, Any]], tables: int) -> Iterator[tuple[str, int]]:
    """Yield the pieces that are not among those that are done."""
    have = {(one["kind"], one["seeds"]) for one in done if one["tables"] >= tables}
    yield from ((kind, seeds) for seeds in SEEDS for kind in KINDS if (kind, seeds) not in have)
