"""Weights, zeros and multiply-accumulates of every layer of the trained networks, pruner by pruner."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparsebench.points.points import Point, Section
from sparsebench.store.results import TrainResult
from sparsebench.wording.numbers import DASH
from sparsebench.wording.tables import markdown_table
from sparsebench.wording.text import escape, evenly, shorten

MOST_NETWORKS = 8
"""Pruned networks that one table shows; of more, evenly spaced thresholds are."""


@dataclass(frozen=True)
class Network:
    """A trained network that is shown: that of the first seed at one threshold."""

    point: Point
    seed: int
    trained: TrainResult


def networks(section: Section) -> tuple[Network, ...]:
    """Return one trained network a pruner and threshold, the dense one first; schemes and backends share it."""
    found: dict[tuple[str | None, float], Network] = {}
    for point in section.shown:
        for seed in point.seeds:
            if (trained := seed.trial.trained) is not None:
                found.setdefault((point.pruner, point.threshold), Network(point, seed.trial.trial.seed, trained))
    return tuple(sorted(found.values(), key=lambda network: not network.point.dense))


def layer_tables(section: Section) -> Iterator[tuple[str, str]]:
    """Yield a heading and a table for each pruner: layers × thresholds; nothing where no MACs were counted."""
    shown = [network for network in networks(section) if network.trained.macs is not None]
    dense = [network for network in shown if network.point.dense][:1]
    for pruner in section.pruners or (None,):
        pruned = [network for network in shown if not network.point.dense and network.point.pruner == pruner]
        chosen = [*dense, *evenly(pruned, MOST_NETWORKS)]
        if chosen:
            seeds = ", ".join(str(seed) for seed in dict.fromkeys(network.seed for network in chosen))
            yield f"{escape(pruner or 'dense')}, seed {seeds}", _table(chosen)


def _table(shown: Sequence[Network]) -> str:
    kinds = {layer.name: layer.kind for network in shown for layer in network.trained.layers}
    rows = [
        [escape(shorten(name, 80)), escape(kind), *(_cell(network, name) for network in shown)]
        for name, kind in kinds.items()
    ]
    rest = [_rest(network.trained) for network in shown]
    if any(macs for macs, _ in rest):
        rows.append(["everything else", "", *(_macs(*counts) for counts in rest)])
    totals = [(network.trained.macs or 0, network.trained.effective_macs or 0) for network in shown]
    rows.append(["**total**", "", *(_macs(*counts) for counts in totals)])
    headings = ["layer", "kind", *(escape(network.point.pruning) for network in shown)]
    return markdown_table(headings, rows, [False, False, *[True] * len(shown)])


def _cell(network: Network, name: str) -> str:
    # A layer of which pruning may touch one weight and not another has two rows in the record.
    rows = [layer for layer in network.trained.layers if layer.name == name]
    if not rows:
        return DASH
    weights, zeros, macs, effective = (
        sum(getattr(row, field) for row in rows) for field in ("weights", "zeros", "macs", "effective_macs")
    )
    return f"{zeros:,} of {weights:,} zero; {_macs(macs, effective)}"


def _macs(macs: int, effective: int) -> str:
    return f"{effective:,} of {macs:,} MACs" if effective != macs else f"{macs:,} MACs"


def _rest(trained: TrainResult) -> tuple[int, int]:
    """Return the MACs, and the effective ones, of what is no row of its own, such as attention."""
    macs = (trained.macs or 0) - sum(layer.macs for layer in trained.layers)
    return macs, (trained.effective_macs or 0) - sum(layer.effective_macs for layer in trained.layers)
