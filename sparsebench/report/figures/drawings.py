"""The figures of a report: which there are, their file names, alternative texts and captions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sparsebench.points.points import Section
from sparsebench.report.figures import bars, curves, fronts
from sparsebench.report.figures.canvas import look, png_and_svg
from sparsebench.report.figures.chart import Chart, PanelChart
from sparsebench.report.figures.fronts import MOST_LOST_PP, MOST_LOST_SHARE
from sparsebench.report.figures.heat_maps import interaction, layer_sparsity
from sparsebench.report.figures.pictures import picture
from sparsebench.wording.text import slug


@dataclass(frozen=True)
class Drawing:
    """A figure as it is written and shown. ``stem`` is its file name without the ending, in [a-z0-9-]."""

    kind: str
    stem: str
    alt: str
    caption: str
    files: dict[str, bytes]
    chart: Chart


class Kind(NamedTuple):
    """How one kind of figure is described, and what is said about it."""

    describe: Callable[[Section], Chart | None]
    alt: str
    caption: str
    error_bars: bool = False
    """Whether it has error bars, which the caption then explains."""


_FRONT = "Joined: no other is better in both. Ringed: named in the answer. Numbers: thresholds. Dashed: dense fp32."

FIGURES: dict[str, Kind] = {
    "pareto-size": Kind(
        fronts.against_size,
        "{metric} against deflated file size",
        _FRONT,
        error_bars=True,
    ),
    "pareto-latency": Kind(
        fronts.against_latency,
        "{metric} against latency",
        f"{_FRONT} Sideways bars: 95 % interval of the speedup.",
        error_bars=True,
    ),
    "pareto-macs": Kind(
        fronts.against_macs,
        "{metric} against multiply-accumulates with a non-zero weight",
        f"{_FRONT} Counted, not timed: dense kernels do not skip zeros. Schemes of a network need the same and stand a "
        "little apart.",
        error_bars=True,
    ),
    "accuracy-sparsity": Kind(
        curves.accuracy_against_sparsity,
        "{metric} against sparsity, one line per scheme",
        "Spaced by the logarithm of the weights left; schemes stand a little apart. Dashed: dense fp32.",
        error_bars=True,
    ),
    "interaction": Kind(
        interaction,
        "What pruning and quantization cost together beyond the sum of what they cost apart, by scheme and threshold",
        "{unit}, mean ± sample standard deviation over seeds. Orange: together they cost more than the sum, "
        "purple: less. Outlined: the 95 % interval over seeds (Student's t) of this cell alone excludes 0, as one in "
        "twenty does by chance.{rounding}",
    ),
    "accuracy-calibration": Kind(
        curves.accuracy_against_batches,
        "{metric} against calibration batches, one panel per scheme and backend",
        "Solid: quantized; dashed: fp32 at the same threshold and on the same backend. Batches are those really read.",
        error_bars=True,
    ),
    "latency": Kind(
        bars.latency,
        "Latency by scheme and backend, with intervals",
        "Bar: dense network; diamonds: pruned networks, the most pruned lowest; both with the 95 % interval of the "
        "speedup. Dashed: dense fp32 on the first backend.",
    ),
    "size": Kind(
        bars.size,
        "File size by scheme and backend",
        "Pale bar: saved file of the dense network; full bar: the same deflated; diamonds: pruned networks, deflated. "
        "Numbers: saved → deflated, and the smallest deflated file with its threshold.",
    ),
    "layer-sparsity": Kind(
        layer_sparsity,
        "Fraction of zeros in each layer at each threshold",
        "Mean over seeds, of the trained networks before quantization. Outlined: collapsed, at least 99.5 % zero. "
        "Layers in brackets are not pruned.",
    ),
}


def drawings(section: Section, place: int | None = None) -> Iterator[Drawing]:
    """Yield the figures that a section's records allow; its place among several sections stands in the file names."""
    prefix = "" if place is None else f"{place}-{slug(section.model, 24)}-{slug(section.data, 24)}-"
    for name, kind in FIGURES.items():
        chart = kind.describe(section)
        if chart is not None:
            with look():
                files = png_and_svg(picture(chart))
            spoken, left_out = (chart.spoken, chart.left_out) if isinstance(chart, PanelChart) else ("", 0)
            title = section.scale.title
            alt = f"{section.title}: {kind.alt.format(metric=title[:1].upper() + title[1:])}.{spoken}"
            yield Drawing(name, f"{prefix}{name}", alt, _caption(section, kind, left_out), files, chart)


def _caption(section: Section, kind: Kind, left_out: int) -> str:
    scale = section.scale
    unit = "Percentage points" if scale.share else f"In {scale.unit or scale.short}"
    rounding = " Seeds that agree count as differing by the rounding to whole test samples." * scale.is_accuracy
    parts = [kind.caption.replace("{unit}", unit).replace("{rounding}", rounding)]
    if kind.error_bars:
        several = max((point.value.n for point in section.shown if point.value), default=0) > 1
        wilson = "Wilson 95 % interval" if section.scale.is_accuracy else "95 % interval"
        seeds, samples = "± sample standard deviation over seeds", f"{wilson} over test samples (one seed)"
        parts.append(f"Error bars: {seeds if several else samples}.")
    if left_out:
        far = f"{MOST_LOST_PP:g} points below" if section.scale.share else f"{100 * MOST_LOST_SHARE:g} % worse than"
        parts.append(f"Not shown: {left_out:,} more than {far} the best.")
    return " ".join(parts)
