"""The figures of a report: which there are, their file names, alternative texts and captions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import Figure

from sparsebench.report import bars, calibration, curves, heatmap, pareto
from sparsebench.report.canvas import look, png_and_svg
from sparsebench.report.points import Section
from sparsebench.report.text import slug


@dataclass(frozen=True)
class Drawing:
    """A figure as it is written and shown. ``stem`` is its file name without the ending, in [a-z0-9-]."""

    kind: str
    stem: str
    alt: str
    caption: str
    files: dict[str, bytes]


def _over_seeds(section: Section) -> str:
    if max((point.top1.n for point in section.shown if point.top1), default=0) > 1:
        return "Error bars: ± sample standard deviation over seeds."
    return "Error bars: Wilson 95 % interval over test samples (one seed)."


class Kind(NamedTuple):
    """How one kind of figure is drawn, and what is said about it."""

    draw: Callable[[Section], Figure | None]
    alt: str
    caption: str
    error_bars: bool = False
    """Whether it has error bars, which the caption then explains."""
    fronts: bool = False
    """Whether its panels have Pareto fronts."""


_FRONT = "Dark, joined: no other point of the panel is better in both; faint: dominated. Numbers are thresholds."

FIGURES: dict[str, Kind] = {
    "pareto-size": Kind(
        pareto.against_size,
        "Top-1 accuracy against deflated file size, one panel per backend",
        _FRONT,
        error_bars=True,
        fronts=True,
    ),
    "pareto-latency": Kind(
        pareto.against_latency,
        "Top-1 accuracy against median latency, one panel per backend",
        f"{_FRONT} Which differences hold stands in the table of speedups and verdicts.",
        error_bars=True,
        fronts=True,
    ),
    "pareto-macs": Kind(
        pareto.against_macs,
        "Top-1 accuracy against multiply-accumulates with a non-zero weight, one panel per backend",
        f"{_FRONT} Counted, not timed: dense kernels do not skip zeros. All schemes of a network need the same and "
        "stand a little apart sideways.",
        error_bars=True,
        fronts=True,
    ),
    "accuracy-sparsity": Kind(
        curves.accuracy_against_sparsity,
        "Top-1 accuracy against sparsity, one line per scheme",
        "The sparsity axis is spaced by the logarithm of the weights left; schemes stand a little apart sideways. "
        "Dashed: dense fp32.",
        error_bars=True,
    ),
    "accuracy-calibration": Kind(
        calibration.accuracy_against_batches,
        "Top-1 accuracy against calibration batches, one panel per scheme and backend",
        "Solid: the quantized network at each threshold; dashed: fp32 at the same threshold and on the same backend. "
        "Batches are those really read.",
        error_bars=True,
    ),
    "latency": Kind(
        bars.latency,
        "Median latency by scheme and backend",
        "Bar: dense network; whisker: up to its 95th percentile; diamonds: pruned networks; dashed: dense fp32 on the "
        "first backend.",
    ),
    "size": Kind(
        bars.size,
        "File size by scheme and backend",
        "Pale bar: saved file of the dense network; full bar: the same deflated; diamonds: deflated files of pruned "
        "networks. Numbers: saved → deflated, and the smallest deflated file with its threshold.",
    ),
    "layer-sparsity": Kind(
        heatmap.layer_sparsity,
        "Fraction of zeros in each layer at each threshold",
        "Mean over seeds, of the trained networks before quantization. Outlined: collapsed, at least 99.5 % zero. "
        "Layers in brackets are not pruned.",
    ),
}


def drawings(section: Section, place: int | None = None) -> Iterator[Drawing]:
    """Yield the figures that a section's records allow.

    Args:
        section: what is drawn.
        place: its place among several sections, which then stands in the file names.
    """
    prefix = "" if place is None else f"{place}-{slug(section.model, 24)}-{slug(section.data, 24)}-"
    for name, kind in FIGURES.items():
        with look():
            figure = kind.draw(section)
            files = png_and_svg(figure) if figure is not None else None
        if files is not None:
            yield Drawing(name, f"{prefix}{name}", kind.alt, _caption(section, kind), files)


def _caption(section: Section, kind: Kind) -> str:
    parts = [kind.caption]
    if kind.fronts and len(section.backends) > 1:
        parts.append("Dotted: the front over all backends.")
    if kind.error_bars:
        parts.append(_over_seeds(section))
    return " ".join(parts)
