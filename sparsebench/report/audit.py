"""What each scheme really quantized: shares of weights and MACs, layer by layer, and zeros before and after."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparsebench.points.baselines import FP32
from sparsebench.points.points import Point, Section
from sparsebench.store.results import LayerAudit
from sparsebench.wording.numbers import DASH, percent
from sparsebench.wording.tables import markdown_table, rows_table
from sparsebench.wording.text import escape, shorten


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
        packed = next((seed.trial for seed in point.seeds if seed.trial.compressed), None)
        if packed is not None and packed.compressed is not None:
            held = found.get((point.backend, point.scheme))
            if held is None or point.threshold > held.point.threshold:
                found[point.backend, point.scheme] = Example(point, packed.trial.seed, packed.audited)
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
            "int8 layers": f"{sum(layer.bits == 8 for layer in layers)} of {len(layers)}",
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
            yield f"{escape(backend)} ({escape('; '.join(networks))})", _table(held)


def _table(held: list[Example]) -> str:
    layers = {layer.name: layer for example in held for layer in example.layers}
    notes: dict[str, int] = {}
    rows = []
    for name, layer in layers.items():
        macs = DASH if layer.macs is None else f"{layer.macs:,}"
        here = (next((found for found in example.layers if found.name == name), None) for example in held)
        cells = (_cell(found, notes) for found in here)
        rows.append([escape(shorten(name, 80)), escape(layer.kind), f"{layer.weights:,}", macs, *cells])
    headings = ["layer", "kind", "weights", "MACs", *(escape(example.point.scheme) for example in held)]
    table = markdown_table(headings, rows, [False, False, True, True, *[False] * len(held)])
    reasons = "\n".join(f"{number}. {escape(shorten(reason))}" for reason, number in notes.items())
    return f"{table}\n\n{reasons}".rstrip()


def _cell(layer: LayerAudit | None, notes: dict[str, int]) -> str:
    """Return a layer's width, what it computes in where that differs, its zeros, and the note why it is not int8."""
    if layer is None:
        return DASH
    zeros = f"{percent(layer.zeros / layer.weights if layer.weights else 0.0, 1)} % zero"
    note = f" ({notes.setdefault(layer.reason, len(notes) + 1)})" if layer.reason else ""
    own = "int8" if layer.bits == 8 else "fp32" if layer.bits == 32 else ""
    computed = f", computed in {layer.computed_in}" if layer.computed_in not in ("", own) else ""
    return f"{layer.bits} bits{computed}, {zeros}{note}"
