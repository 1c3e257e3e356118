"""Layer by layer: weights, zeros and MACs of the trained networks, and what each scheme really quantized."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparsebench.points.baselines import FP32
from sparsebench.points.points import Point, Section
from sparsebench.store.results import LayerAudit, TrainResult
from sparsebench.wording.numbers import DASH, percent
from sparsebench.wording.text import escape, evenly, markdown_table, rows_table, shorten

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
    totals = (_macs(network.trained.macs or 0, network.trained.effective_macs or 0) for network in shown)
    rows.append(["**total**", "", *totals])
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


@dataclass(frozen=True)
class Example:
    """The network of one scheme and backend that is shown: the first seed's at the highest threshold there is."""

    point: Point
    seed: int
    layers: tuple[LayerAudit, ...]


def examples(section: Section) -> tuple[Example, ...]:
    """Return one example a backend and scheme; the highest threshold shows both zeros and widths."""
    found: dict[tuple[str, str], Example] = {}
    for point in section.shown:
        trial = next((seed.trial for seed in point.seeds if seed.trial.compressed), None)
        held = found.get((point.backend, point.scheme))
        if trial and (held is None or point.threshold > held.point.threshold):
            found[point.backend, point.scheme] = Example(point, trial.trial.seed, trial.audited)
    return tuple(found.values())


def shares_table(section: Section) -> str:
    """Return how much of each backend's networks is int8: shares of weights and of MACs, means over seeds."""
    rows = [
        {
            "backend": escape(point.backend),
            "scheme": escape(point.scheme),
            "network": escape(point.pruning),
            "int8 weights %": percent(point.int8_fraction, 1),
            "int8 MACs %": percent(point.int8_mac_fraction, 1),
            "int8 layers": f"{sum(one.bits == 8 for one in layers)} of {sum(one.weights > 0 for one in layers)}",
            "computed in": ", ".join(dict.fromkeys(layer.computed_in for layer in layers if layer.computed_in)) or DASH,
        }
        for point, layers in ((example.point, example.layers) for example in examples(section))
    ]
    return rows_table(rows, {"backend", "scheme", "network", "computed in"})


def zeros_table(points: Sequence[Point]) -> str:
    """Return sparsity before and after quantization, one row an operating point; empty where nothing was quantized."""
    shares = ("before %", "after %", "by quantization alone %", "without those %")
    rows = [
        {
            "network": escape(point.pruning),
            "scheme": escape(point.scheme),
            "backend": escape(point.backend),
            **{name: percent(share, 4) for name, share in zip(shares, point.zeros, strict=True)},
        }
        for point in points
        if point.zeros and point.scheme != FP32
    ]
    return rows_table(rows, {"network", "scheme", "backend"})


def audit_tables(section: Section) -> Iterator[tuple[str, str]]:
    """Yield, for each backend, a heading and a table: layers × schemes, with the reasons for what is not int8."""
    shown = sorted(examples(section), key=lambda example: section.schemes.index(example.point.scheme))
    for backend in section.backends:
        held = [example for example in shown if example.point.backend == backend]
        if held:
            networks = dict.fromkeys(f"{example.point.pruning}, seed {example.seed}" for example in held)
            yield f"{escape(backend)} ({escape('; '.join(networks))})", _audit_table(held)


def _audit_table(held: list[Example]) -> str:
    layers = {layer.name: layer for example in held for layer in example.layers}
    notes: dict[str, int] = {}
    rows = []
    for name, layer in layers.items():
        macs = DASH if layer.macs is None else f"{layer.macs:,}"
        cells = (
            _audit_cell(next((found for found in example.layers if found.name == name), None), notes)
            for example in held
        )
        rows.append([escape(shorten(name, 80)), escape(layer.kind), f"{layer.weights:,}", macs, *cells])
    headings = ["layer", "kind", "weights", "MACs", *(escape(example.point.scheme) for example in held)]
    table = markdown_table(headings, rows, [False, False, True, True, *[False] * len(held)])
    reasons = "\n".join(f"{number}. {escape(shorten(reason))}" for reason, number in notes.items())
    return f"{table}\n\n{reasons}".rstrip()


def _audit_cell(layer: LayerAudit | None, notes: dict[str, int]) -> str:
    if layer is None:
        return DASH
    zeros = f"{percent(layer.zeros / layer.weights if layer.weights else 0.0, 1)} % zero"
    note = f" ({notes.setdefault(layer.reason, len(notes) + 1)})" if layer.reason else ""
    own = "int8" if layer.bits == 8 else "fp32" if layer.bits == 32 else ""
    computed = f", computed in {layer.computed_in}" if layer.computed_in not in ("", own) else ""
    return f"{layer.bits} bits{computed}, {zeros}{note}"
