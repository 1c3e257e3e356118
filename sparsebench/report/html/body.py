"""From Markdown to the body of a page: headings with anchors, tables with keys to sort by, charts for pictures."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FIGURE = re.compile(r"figures/([a-z0-9-]+)\.svg")
_NUMBER = re.compile(r"([−-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)")

_WORDS = {"baseline": "0", "baseline, INVALID": "0"}
"""Keys of cells that say in words what would be a number: a baseline has lost nothing."""


class Heading(NamedTuple):
    """A heading of the second level: where it stands, and its text as HTML."""

    anchor: str
    html: str


@dataclass(frozen=True)
class Body:
    """The body of a page and its headings."""

    html: str
    headings: tuple[Heading, ...]


def body_of(markdown: str, figures: Mapping[str, str]) -> Body:
    """Return Markdown of a report as HTML.

    Args:
        markdown: what ``markdown.readme`` returns; texts of users in it are escaped already.
        figures: what is put in the place of each picture, by the stem of its file.
    """
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = reader.parse(markdown)
    headings = []
    done: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        picture = _picture(tokens, place, figures)
        if picture is not None:
            done.append(_raw(picture))
            place += 3
            continue
        if token.type == "heading_open":
            anchor = f"section-{place}"
            token.attrSet("id", anchor)
            if token.tag == "h2":
                headings.append(Heading(anchor, reader.renderInline(tokens[place + 1].content)))
        if token.type == "table_open":
            _mark_table(tokens, place)
            done += [_raw('<div class="table">\n'), token]
        elif token.type == "table_close":
            done += [token, _raw("</div>\n")]
        else:
            done.append(token)
        place += 1
    return Body(str(reader.renderer.render(done, reader.options, {})), tuple(headings))


def sort_key(text: str) -> str:
    """Return what a cell of a column of numbers is sorted by: its first number, plainly; empty where it has none."""
    found = _NUMBER.match(text.strip())
    if found is None:
        return _WORDS.get(text.strip(), "")
    return f"{'-' if found[1] else ''}{found[2].replace(',', '')}"


def _raw(content: str) -> Token:
    token = Token("html_block", "", 0)
    token.content = content
    return token


def _picture(tokens: list[Token], place: int, figures: Mapping[str, str]) -> str | None:
    """Return what stands for a paragraph that is nothing but one picture of the report, or None."""
    if tokens[place].type != "paragraph_open":
        return None
    children = tokens[place + 1].children or []
    if len(children) != 1 or children[0].type != "image":
        return None
    source = _FIGURE.fullmatch(str(children[0].attrGet("src")))
    return figures.get(source[1]) if source else None


def _mark_table(tokens: list[Token], place: int) -> None:
    """Give numbers their sort keys, and tables of several rows with headings the class that makes them sortable."""
    end = next(at for at in range(place, len(tokens)) if tokens[at].type == "table_close")
    rows = sum(token.type == "tr_open" for token in tokens[place:end]) - 1
    named = False
    for at in range(place, end):
        token = tokens[at]
        if token.type == "th_open" and tokens[at + 1].content.strip():
            named = True
        if token.type == "td_open" and "right" in str(token.attrGet("style") or ""):
            token.attrSet("data-order", html.escape(sort_key(tokens[at + 1].content)))
    if named and rows > 1:
        tokens[place].attrSet("class", "sortable")
