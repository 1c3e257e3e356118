"""What all pictures share: look, titles, legends, labels, texts that fit, and how a figure becomes bytes."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

from sparsebench.report.figures.palette import GRID, INK, MUTED
from sparsebench.wording.text import clean

POINTS = 72
"""Points to an inch."""

LABEL_SIZE = 8.0
"""Font size of labels beside points."""

REFERENCE = (0, (4, 3))
"""Dashes of what others are compared with."""

_LOOK: dict[str, Any] = {
    "svg.hashsalt": "sparsebench",  # otherwise the ids in an SVG are random
    "svg.fonttype": "path",  # shown alike where the font is missing
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.unicode_minus": True,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    # GitHub shows the same file on a light and on a dark page, so the background is part of the figure.
    "figure.facecolor": "white",
}


@contextmanager
def look() -> Iterator[None]:
    """Draw and save under this package's own settings, whatever the user's matplotlib is set to."""
    with style.context(["default", _LOOK]), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; the tables have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def text_width(text: str, size: float) -> float:
    """Return the width of ``text`` at a font size, both in points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width)


def fitting(text: str, width: float, size: float) -> str:
    """Return ``text`` on one line, cut with an ellipsis where it would be wider than ``width`` points."""
    line = clean(text)[:500]
    if text_width(line, size) <= width:
        return line
    low, high = 0, len(line)
    while high - low > 1:  # the longest beginning that fits
        middle = (low + high) // 2
        low, high = (middle, high) if text_width(f"{line[:middle]}…", size) <= width else (low, middle)
    return f"{line[:low].rstrip()}…"


def titles(figure: Figure, axes: Sequence[Axes], subject: str, names: Sequence[str], room: float = 0.0) -> None:
    """Write what a figure is of above it, and above each panel, ``room`` points wide, what that is of.

    The name of a single panel stands beside the subject.
    """
    width = POINTS * float(figure.get_size_inches()[0])
    alone = len(axes) == 1
    title = " · ".join(filter(None, (subject, *names))) if alone else subject
    figure.suptitle(fitting(title, 0.92 * width, 10.5), fontsize=10.5, x=0.01, ha="left")
    if not alone:
        for axis, name in zip(axes, names, strict=True):
            axis.set_title(fitting(name, room, 9.5), fontsize=9.5)


def legend(figure: Figure, *groups: Sequence[Artist]) -> None:
    """Put one legend below the panels, where it hides no data; each group begins a row."""
    size = 9.0
    given = [group for group in groups if group]
    # A handle and the room around it take about four letters' width.
    widest = max(text_width(str(handle.get_label()), size) for group in given for handle in group) + 4 * size
    most = max(1, int(0.97 * POINTS * figure.get_size_inches()[0] / widest))
    columns = min(most, max(map(len, given)))
    cells: list[Artist] = []
    for group in given:
        cells += [*group, *(Line2D([], [], linestyle="", label=" ") for _ in range(-len(group) % columns))]
    # Matplotlib fills columns from top to bottom; read along rows, the groups stay together.
    rows = len(cells) // columns
    ordered = [cells[row * columns + column] for column in range(columns) for row in range(rows)]
    room = {"handlelength": 1.9, "handletextpad": 0.5, "columnspacing": 1.1}
    figure.legend(handles=ordered, loc="outside lower center", ncols=columns, fontsize=size, **room)


class Label(NamedTuple):
    """A text for the point at (x, y), in data coordinates; a bold one is placed even where it covers a point."""

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
    written: list[Bbox] = []
    for label, (x, y), own in zip(labels, at, tuple(taken), strict=True):
        gap = 7.0 if label.bold else 4.0
        boxes = [(side, _box(x, y, label.text, side, gap)) for side in _SIDES]
        inside = [(side, box) for side, box in boxes if box.x0 >= panel.x0 and box.x1 <= panel.x1]
        inside = [(side, box) for side, box in inside if box.y0 >= panel.y0 and box.y1 <= panel.y1]
        free = [(s, box) for s, box in inside if not any(box.overlaps(other) for other in taken if other is not own)]
        # A text over a point can be read, one over another text cannot.
        legible = [(s, box) for s, box in inside if not any(box.overlaps(other) for other in written)]
        allowed = free or (legible or inside if label.bold else [])
        if not allowed:
            continue
        (side_x, side_y), box = allowed[0]
        taken.append(box)
        written.append(box)
        axis.annotate(
            label.text,
            (label.x, label.y),
            xytext=(side_x * gap, side_y * gap * 0.7),
            textcoords="offset points",
            ha="left" if side_x > 0 else "right",
            va="bottom" if side_y > 0 else "top",
            fontsize=LABEL_SIZE,
            fontweight="bold" if label.bold else "normal",
            color=INK,
            zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white", alpha=0.85)],
        )


def _box(x: float, y: float, text: str, side: tuple[int, int], gap: float) -> Bbox:
    """Return where a text stands that is written at one side of a point, in points."""
    width, height = 1.1 * text_width(text, LABEL_SIZE), 1.15 * LABEL_SIZE
    left = x + gap if side[0] > 0 else x - gap - width
    bottom = y + 0.7 * gap if side[1] > 0 else y - 0.7 * gap - height
    return Bbox.from_bounds(left, bottom, width, height)


def png_and_svg(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG and SVG; the same figure gives the same bytes, without dates or version numbers."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.set_dpi(150)
    # Each draws once, where savefig draws a second time to lay out. The PNG comes first, and with it the layout: its
    # letters, fitted to pixels, are a little wider.
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return {"png": png.getvalue(), "svg": svg.getvalue()}
