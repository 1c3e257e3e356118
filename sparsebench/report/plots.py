"""The figures of a report: which there are, their file names, alternative texts and captions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import Figure

from sparsebench.points.points import Section
from sparsebench.report import bars, calibration, curves, interaction, layer_heatmap, pareto, tradeoffs
from sparsebench.report.canvas import look, png_and_svg
from sparsebench.report.tradeoffs import TradeOff, front
from sparsebench.wording.numbers import decimal, significant
from sparsebench.wording.text import evenly, slug


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
    trade_off: Callable[[Section], TradeOff | None] | None = None
    """What its Pareto fronts show, where it has some."""


_FRONT = (
    "Dark, joined: no other point of the panel is better in both; faint: dominated; ringed: the picks of the first "
    "line. Numbers are thresholds."
)

FIGURES: dict[str, Kind] = {
    "pareto-size": Kind(
        pareto.against_size,
        "Top-1 accuracy against deflated file size, one panel per backend",
        _FRONT,
        error_bars=True,
        trade_off=tradeoffs.against_size,
    ),
    "pareto-latency": Kind(
        pareto.against_latency,
        "Top-1 accuracy against latency, one panel per backend",
        f"{_FRONT} Sideways bars: 95 % interval of the speedup. Which differences hold stands in the table of speedups "
        "and verdicts.",
        error_bars=True,
        trade_off=tradeoffs.against_latency,
    ),
    "pareto-macs": Kind(
        pareto.against_macs,
        "Top-1 accuracy against multiply-accumulates with a non-zero weight, one panel per backend",
        f"{_FRONT} Counted, not timed: dense kernels do not skip zeros. All schemes of a network need the same and "
        "stand a little apart sideways.",
        error_bars=True,
        trade_off=tradeoffs.against_macs,
    ),
    "accuracy-sparsity": Kind(
        curves.accuracy_against_sparsity,
        "Top-1 accuracy against sparsity, one line per scheme",
        "The sparsity axis is spaced by the logarithm of the weights left; schemes stand a little apart sideways. "
        "Dashed: dense fp32.",
        error_bars=True,
    ),
    "interaction": Kind(
        interaction.interaction,
        "What pruning and quantization cost together beyond the sum of what they cost apart, by scheme and threshold",
        "Drop − (drop by pruning alone + drop by quantization alone), percentage points, mean ± sample standard "
        "deviation over seeds; orange: together they cost more than the sum, purple: less. Outlined: the 95 % interval "
        "over seeds (Student's t) of this cell by itself excludes 0, as one cell in twenty does by chance; seeds that "
        "agree count as differing by the rounding to whole test samples.",
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
        "Latency by scheme and backend, with intervals",
        "Latency in pairs: that of dense fp32 / speedup, so that networks timed in several sessions can be compared. "
        "Bar: dense network; diamonds: pruned networks, the most pruned lowest; both with the 95 % interval of the "
        "speedup; tick: 95th percentile of the dense network's calls; dashed: dense fp32 on the first backend.",
    ),
    "size": Kind(
        bars.size,
        "File size by scheme and backend",
        "Pale bar: saved file of the dense network; full bar: the same deflated; diamonds: deflated files of pruned "
        "networks. Numbers: saved → deflated, and the smallest deflated file with its threshold.",
    ),
    "layer-sparsity": Kind(
        layer_heatmap.layer_sparsity,
        "Fraction of zeros in each layer at each threshold",
        "Mean over seeds, of the trained networks before quantization. Outlined: collapsed, at least 99.5 % zero. "
        "Layers in brackets are not pruned.",
    ),
}

MOST_SPOKEN = 4
"""Points of a front that an alternative text names."""


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
            alt = f"{section.title}: {kind.alt}.{_spoken(section, kind)}"
            yield Drawing(name, f"{prefix}{name}", alt, _caption(section, kind), files)


def _spoken(section: Section, kind: Kind) -> str:
    """Return which points are on the front over all backends, for those who cannot see the figure."""
    shown = kind.trade_off(section) if kind.trade_off else None
    if shown is None:
        return ""
    best = evenly(front(shown.spots), MOST_SPOKEN)
    points = (f"{significant(s.x)} at {decimal(s.y)} % ({s.point.label})" for s in best)
    return f" On the front ({shown.x_label}): {'; '.join(points)}."


def _caption(section: Section, kind: Kind) -> str:
    parts = [kind.caption]
    if kind.trade_off and len(section.backends) > 1:
        parts.append("Dotted: the front over all backends.")
    if kind.error_bars:
        parts.append(_over_seeds(section))
    return " ".join(parts)
