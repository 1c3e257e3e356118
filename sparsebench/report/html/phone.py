"""What has room on a phone: letters of a title, and rows of a legend below a chart."""

import math
from collections.abc import Iterable

LETTERS_ON_PHONE = 38
"""Letters of an axis title that fit into the width of a phone."""

PHONE, LEGEND_ROW, LEGEND_MARK, LETTER = 280, 30, 50, 8.0
"""Pixels: the width that a legend has on a phone, the height of its rows, and what a mark and a letter take."""


def legend_rows(names: Iterable[str]) -> int:
    """Return how many rows a legend takes on a phone; where it wraps, all entries are as wide as the widest."""
    widths = [LEGEND_MARK + LETTER * len(name) for name in dict.fromkeys(names)]
    if sum(widths) <= PHONE:
        return min(1, len(widths))
    return math.ceil(len(widths) / max(1, int(PHONE / max(widths))))
