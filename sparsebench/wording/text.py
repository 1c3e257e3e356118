"""Markdown, and text that came from users, made harmless for it, HTML, file names and figures."""

import html
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparsebench.registry import nearest

Item = TypeVar("Item")

MOST_PADDED = 60
"""Rows up to which cells are padded so that the text lines up; GitHub cuts pages off that are padded beyond reason."""

_STRUCTURAL = str.maketrans({character: f"&#{ord(character)};" for character in "\\`*[]<>&|~$#@"})
"""Characters that mean something to Markdown, HTML or GitHub (math, mentions, references), as entities. Entities hold
in paragraphs, in table cells and inside HTML alike, where a backslash does not."""

_OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""An underscore that is not inside a word: the only one that can begin or end emphasis."""

_LIST_MARKER = re.compile(r"^(\d*)([.)+=-])(?=\s|$|[-=+])")


def clean(text: str) -> str:
    """Return ``text`` on one line, without control characters and marks that turn the direction of writing."""
    visible = (c if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} else "\ufffd" for c in text)
    return " ".join("".join(visible).split())


def escape(text: str) -> str:
    """Return ``text`` such that Markdown and HTML show it as it is, on one line.

    Bare web addresses stay: a library's reason for a failure often names the page that explains it.
    """
    line = clean(text).translate(_STRUCTURAL)
    line = _OUTER_UNDERSCORE.sub("&#95;", line)
    return _LIST_MARKER.sub(lambda match: f"{match[1]}&#{ord(match[2])};", line)


def plain(markdown: str) -> str:
    """Return a sentence of Markdown, in which texts of users are escaped, as a terminal shows it: without any marks."""
    linked = re.sub(r"\[([^\]\[]*)\]\([^)\s]*\)", r"\1", markdown)
    return clean(html.unescape(re.sub(r"\*\*|`", "", linked)))


def shorten(text: str, limit: int = 240) -> str:
    """Return ``text`` on one line, with an ellipsis where it is longer than ``limit`` characters."""
    line = clean(text)
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def near_file(path: Path, suffixes: Container[str]) -> Path | None:
    """Return the file beside ``path`` whose name is nearest to its, with one of these suffixes; None without any."""
    beside = path.parent.glob("*") if path.parent.is_dir() else ()
    # Of names without their endings, for endings alone make short names alike.
    named = {file.stem: file for file in sorted(beside) if file.suffix in suffixes and file.is_file()}
    found = nearest(path.stem, named)
    return named[found] if found else None


def slug(text: str, limit: int = 40) -> str:
    """Return ``text`` as a part of a file name: lower-case letters, digits and single hyphens only."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:limit].strip("-") or "unnamed"


def fence(text: str, language: str = "") -> str:
    """Return ``text`` as a fenced code block that no run of backticks inside can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    bar = "`" * max(3, longest + 1)
    return f"{bar}{language}\n{text}\n{bar}"


def folded(summary: str, body: str) -> str:
    """Return ``body`` folded under ``summary``, which must be escaped already."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def listing(words: list[str]) -> str:
    """Return words as they stand in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def first_of(names: Sequence[str], most: int) -> str:
    """Return names with commas between them, and of more than ``most`` how many are left out."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 trial``, ``2 trials``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return all items, or ``most`` of them, evenly spaced and with both ends, where there are more."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in sorted({round(place * (len(items) - 1) / (most - 1)) for place in range(most)})]


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return a table of texts that are escaped already; columns of numbers are aligned to the right."""
    from tabulate import tabulate  # It takes long to import, and this module is asked for by everything.

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


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the settings of a config by their dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
