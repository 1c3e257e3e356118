"""Tables in Markdown."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence

from tabulate import tabulate

MOST_PADDED = 60
"""Rows up to which cells are padded so that the text lines up; GitHub cuts pages off that are padded beyond reason."""


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return a table of texts that are escaped already; columns of numbers are aligned to the right."""
    align = ["right" if number else "left" for number in numeric]
    listed = list(rows)
    table = tabulate(listed, headings, tablefmt="pipe", colalign=align, disable_numparse=True)
    if len(listed) <= MOST_PADDED:
        return table
    head, rule, *body = table.splitlines()
    return "\n".join(re.sub(" +", " ", line) for line in (head, re.sub("-+", "-", rule), *body))


def rows_table(rows: Sequence[Mapping[str, str]], text: Container[str]) -> str:
    """Return a table of rows that map headings to cells, empty without rows; columns not in ``text`` hold numbers."""
    if not rows:
        return ""
    headings = list(rows[0])
    return markdown_table(headings, [list(row.values()) for row in rows], [name not in text for name in headings])
