"""How far a search had come after how much work."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from sparsebench.report.figures.canvas import REFERENCE, legend, look, png_and_svg, titles
from sparsebench.report.figures.palette import INK, MUTED

_LINE = "#0072B2"


def progress_figure(
    subject: str, line: Sequence[tuple[float, float]], marks: Mapping[str, tuple[float, float]]
) -> dict[str, bytes]:
    """Draw a value that rises with work, in steps, and others to compare it with.

    Args:
        subject: what the figure is of.
        line: seconds and hypervolume, in the order of seconds.
        marks: others by their names, each with its seconds and hypervolume.

    Returns:
        The figure as PNG and SVG; the same numbers give the same bytes.
    """
    with look():
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axis = figure.subplots()
        seconds, values = zip(*line, strict=True)
        handles = axis.plot(
            seconds, values, drawstyle="steps-post", color=_LINE, marker=".", label="search, short trainings"
        )
        for name, (x, y) in marks.items():
            handles += axis.plot([x], [y], linestyle="", marker="D", color=INK, label=name)
            axis.axhline(y, color=MUTED, linestyle=REFERENCE, linewidth=0.8)
        axis.set_xlabel("seconds of training, conversion and evaluation")
        axis.set_ylabel("hypervolume on validation")
        titles(figure, [axis], subject, [])
        legend(figure, handles)
        return png_and_svg(figure)
