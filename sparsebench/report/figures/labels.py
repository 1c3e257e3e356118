"""Labels beside points, placed so that they neither cover each other nor leave the panel."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from sparsebench.report.figures.canvas import POINTS, text_width
from sparsebench.report.figures.palette import INK

SIZE = 8.0
"""Font size of labels, in points."""


class Label(NamedTuple):
    """A text for the point at (x, y), in data coordinates; a bold one is placed even where it covers something."""

    x: float
    y: float
    text: str
    bold: bool = False


# Above left first: on a front that rises to the right nothing can be there, for it would dominate the point.
_SIDES = ((-1, 1), (1, 1), (-1, -1), (1, -1))


def write_labels(axis: Axes, labels: Sequence[Label]) -> None:
    """Write labels in their order, each at the first side of its point that is free; those for which none is are not.

    The axes must have their limits and scales already.
    """
    figure = axis.figure
    if not isinstance(figure, Figure) or not labels:
        return
    width, height = (POINTS * length for length in figure.get_size_inches())
    place = axis.get_position()
    panel = Bbox.from_extents(0.0, 0.0, place.width * width, place.height * height)
    to_panel = axis.transData + axis.transAxes.inverted()
    at = [to_panel.transform((label.x, label.y)) * (panel.x1, panel.y1) for label in labels]
    taken = [Bbox.from_extents(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    for label, (x, y), own in zip(labels, at, tuple(taken), strict=True):
        gap = 7.0 if label.bold else 4.0
        boxes = [(side, _box(x, y, label.text, side, gap)) for side in _SIDES]
        inside = [(side, box) for side, box in boxes if box.x0 >= panel.x0 and box.x1 <= panel.x1]
        inside = [(side, box) for side, box in inside if box.y0 >= panel.y0 and box.y1 <= panel.y1]
        free = [(s, box) for s, box in inside if not any(box.overlaps(other) for other in taken if other is not own)]
        allowed = free or (inside if label.bold else [])
        if not allowed:
            continue
        (side_x, side_y), box = allowed[0]
        taken.append(box)
        axis.annotate(
            label.text,
            (label.x, label.y),
            xytext=(side_x * gap, side_y * gap * 0.7),
            textcoords="offset points",
            ha="left" if side_x > 0 else "right",
            va="bottom" if side_y > 0 else "top",
            fontsize=SIZE,
            fontweight="bold" if label.bold else "normal",
            color=INK,
            zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white", alpha=0.85)],
        )


def _box(x: float, y: float, text: str, side: tuple[int, int], gap: float) -> Bbox:
    """Return where a text stands that is written at one side of a point, in points."""
    width, height = 1.1 * text_width(text, SIZE), 1.15 * SIZE
    left = x + gap if side[0] > 0 else x - gap - width
    bottom = y + 0.7 * gap if side[1] > 0 else y - 0.7 * gap - height
    return Bbox.from_bounds(left, bottom, width, height)
