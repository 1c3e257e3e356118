"""Colours, markers, dashes and fills of schemes and pruners, the same in all figures."""

from dataclasses import replace

from sparsebench.points.points import Section
from sparsebench.report.figures.chart import Fill, Key, Look
from sparsebench.wording.text import shorten

INK, MUTED, GRID = "#222222", "#666666", "#dddddd"

# Colours of Okabe and Ito 2008, told apart with any colour vision; without their yellow, and with a darker orange, for
# thin error bars of theirs are lost on white.
_COLOURS = ("#000000", "#B27300", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_KNOWN = ("fp32", "dynamic", "static", "both", "qat", "weight_only", "bf16", "fp16")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_FILLS: tuple[Fill, ...] = ("full", "none", "left", "right", "top", "bottom")


class Palette:
    """Colour of every scheme, dashes and fill of every pruner; a scheme looks alike in all reports.

    Markers tell schemes apart as well, or backends where one panel shows several (``look_on``). Keys of a legend always
    stand in this order: schemes, backends, pruners.
    """

    def __init__(self, section: Section) -> None:
        self.schemes, self.pruners, self.backends = section.schemes, section.pruners, section.backends

    def colour(self, scheme: str) -> str:
        """Return the colour of a scheme."""
        return _COLOURS[self._place(scheme) % len(_COLOURS)]

    def marker(self, scheme: str) -> str:
        """Return the marker of a scheme."""
        return _MARKERS[self._place(scheme) % len(_MARKERS)]

    def look(self, scheme: str, pruner: str | None) -> Look:
        """Return how a scheme and a pruner look; dense networks have the fill and the dashes of the first pruner."""
        return self._with_pruner(pruner, self.colour(scheme), self.marker(scheme))

    def look_on(self, scheme: str, backend: str, pruner: str | None) -> Look:
        """Return how a scheme looks in a panel that shows all backends."""
        return self._with_pruner(pruner, self.colour(scheme), self._marker_on(scheme, backend))

    def _marker_on(self, scheme: str, backend: str) -> str:
        if len(self.backends) == 1:
            return self.marker(scheme)
        return _MARKERS[self.backends.index(backend) % len(_MARKERS)]

    def keys_on_all(self) -> tuple[tuple[Key, ...], ...]:
        """Return the legend of a panel that shows all backends, in groups."""
        if len(self.backends) == 1:
            return self.scheme_keys(), self._pruners_without_lines()
        schemes = tuple(Key(shorten(name, 30), Look(self.colour(name), "o")) for name in self.schemes)
        backends = tuple(
            Key(shorten(name, 30), Look(MUTED, _MARKERS[place % len(_MARKERS)]))
            for place, name in enumerate(self.backends)
        )
        return schemes, backends, self._pruners_without_lines()

    def _pruners_without_lines(self) -> tuple[Key, ...]:
        return tuple(Key(key.label, replace(key.look, dash="")) for key in self.pruner_keys())

    def name(self, scheme: str, pruner: str | None) -> str:
        """Return what the legend of a page calls a scheme, with its pruner where there are several."""
        return f"{scheme} · {pruner or 'dense'}" if len(self.pruners) > 1 else scheme

    def scheme_keys(self) -> tuple[Key, ...]:
        """Return a legend entry for each scheme."""
        return tuple(Key(shorten(name, 30), Look(self.colour(name), self.marker(name))) for name in self.schemes)

    def pruner_keys(self) -> tuple[Key, ...]:
        """Return a legend entry for each pruner where there are several."""
        named = self.pruners if len(self.pruners) > 1 else ()
        return tuple(Key(shorten(name, 30), self._with_pruner(name, MUTED, "o")) for name in named)

    def _with_pruner(self, pruner: str | None, colour: str, marker: str) -> Look:
        place = self.pruners.index(pruner) if pruner in self.pruners else 0
        return Look(colour, marker, _FILLS[place % len(_FILLS)], _DASHES[place % len(_DASHES)])

    def _place(self, scheme: str) -> int:
        if scheme in _KNOWN:
            return _KNOWN.index(scheme)
        return len(_KNOWN) - 1 - [name for name in self.schemes if name not in _KNOWN].index(scheme)
