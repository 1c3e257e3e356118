"""Colours, markers, lines and fills of schemes and pruners, the same in all figures."""

from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.lines import Line2D

from sparsebench.wording.text import shorten

INK, MUTED, GRID = "#222222", "#666666", "#dddddd"

# Colours of Okabe and Ito 2008, told apart with any colour vision; without their yellow, which is lost on white.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_KNOWN = ("fp32", "dynamic", "static", "both", "qat", "weight_only", "bf16", "fp16")
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_FILLS: tuple[Literal["full", "none", "left", "right", "top", "bottom"], ...] = (
    "full",
    "none",
    "left",
    "right",
    "top",
    "bottom",
)


@dataclass(frozen=True)
class Palette:
    """Colour and marker of every scheme, line and fill of every pruner; the same scheme looks alike in all reports."""

    schemes: tuple[str, ...]
    pruners: tuple[str, ...]

    def colour(self, scheme: str) -> str:
        """Return the colour of a scheme."""
        return _COLOURS[self._place(scheme) % len(_COLOURS)]

    def marker(self, scheme: str) -> str:
        """Return the marker of a scheme."""
        return _MARKERS[self._place(scheme) % len(_MARKERS)]

    def line(self, pruner: str | None) -> Any:
        """Return the line style of a pruner."""
        return _LINES[self.pruner_place(pruner) % len(_LINES)]

    def fill(self, pruner: str | None) -> Literal["full", "none", "left", "right", "top", "bottom"]:
        """Return the fill style of a pruner's markers."""
        return _FILLS[self.pruner_place(pruner) % len(_FILLS)]

    def groups(self) -> list[list[Artist]]:
        """Return legend entries: the schemes, and the pruners where there are several."""
        schemes: list[Artist] = [
            Line2D([], [], color=self.colour(name), marker=self.marker(name), linestyle="", label=shorten(name, 30))
            for name in self.schemes
        ]
        return [schemes, self.pruner_handles()] if len(self.pruners) > 1 else [schemes]

    def pruner_handles(self) -> list[Artist]:
        """Return a legend entry for each pruner."""
        return [
            Line2D(
                [],
                [],
                color=MUTED,
                marker="o",
                linestyle=self.line(name),
                fillstyle=self.fill(name),
                label=shorten(name, 30),
            )
            for name in self.pruners
        ]

    def pruner_place(self, pruner: str | None) -> int:
        """Return the place of a pruner among those of the section; dense networks stand with the first."""
        return self.pruners.index(pruner) if pruner in self.pruners else 0

    def _place(self, scheme: str) -> int:
        if scheme in _KNOWN:
            return _KNOWN.index(scheme)
        return len(_KNOWN) - 1 - [name for name in self.schemes if name not in _KNOWN].index(scheme)
