"""What each scheme really quantized, layer by layer, on one example network."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsebench.records import LayerAudit
from sparsebench.report.numbers import DASH, percent
from sparsebench.report.points import Point, Section
from sparsebench.report.tables import markdown_table
from sparsebench.report.text import escape, shorten


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
                found[point.backend, point.scheme] = Example(point, packed.trial.seed, packed.compressed.layers)
    return tuple(found.values())


def audit_tables(section: Section) -> Iterator[tuple[str, str]]:
    """Yield, for each backend, a heading and a table: layers × schemes, with the reasons for what is not int8."""
    shown = examples(section)
    for backend in section.backends:
        held = sorted(
            (e for e in shown if e.point.backend == backend), key=lambda e: section.schemes.index(e.point.scheme)
        )
        if held:
            yield _heading(backend, held), _table(held)


def _heading(backend: str, held: list[Example]) -> str:
    networks = dict.fromkeys(f"{example.point.pruning}, seed {example.seed}" for example in held)
    return f"{escape(backend)} ({escape('; '.join(networks))})"


def _table(held: list[Example]) -> str:
    layers = {layer.name: layer for example in held for layer in example.layers}
    notes: dict[str, int] = {}
    rows = []
    for name, layer in layers.items():
        row = [escape(shorten(name, 80)), escape(layer.kind), f"{layer.weights:,}"]
        for example in held:
            here = next((found for found in example.layers if found.name == name), None)
            row.append(_cell(here, notes))
        rows.append(row)
    headings = ["layer", "kind", "weights", *(escape(example.point.scheme) for example in held)]
    table = markdown_table(headings, rows, [False, False, True, *[False] * len(held)])
    reasons = "\n".join(f"{number}. {escape(shorten(reason))}" for reason, number in notes.items())
    return f"{table}\n\n{reasons}".rstrip()


def _cell(layer: LayerAudit | None, notes: dict[str, int]) -> str:
    """Return the width of a layer's weights, its zeros, and the number of the note that says why it is not int8."""
    if layer is None:
        return DASH
    zeros = f"{percent(layer.zeros / layer.weights if layer.weights else 0.0, 1)} % zero"
    note = f" ({notes.setdefault(layer.reason, len(notes) + 1)})" if layer.reason else ""
    return f"{layer.bits} bits, {zeros}{note}"
