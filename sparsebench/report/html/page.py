"""The report as one self-contained page: all its files, with tables that sort and filter and charts that tell values.

Nothing is fetched: styles, scripts and data stand in the page, and its content security policy forbids everything else.
Scripts run only where they carry the page's nonce, so that not even a name that slipped through all escaping could run.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Container, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from plotly.offline import get_plotlyjs

from sparsebench.report.figures.drawings import Drawing
from sparsebench.report.files import PAGE_MARK
from sparsebench.report.html.charts import plotly_chart
from sparsebench.wording.text import clean

_FIGURE = re.compile(r"figures/([a-z0-9-]+)\.svg")
_NUMBER = re.compile(r"([−-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)")

_WORDS = {"baseline": "0", "baseline, INVALID": "0", "baseline, NOISY": "0"}
"""Keys of cells that say in words what would be a number: a baseline has lost nothing."""


class Heading(NamedTuple):
    """What a part of the page is called in its list of contents: where it stands, and its name as HTML."""

    anchor: str
    html: str


class Body(NamedTuple):
    """One file of the report as a part of the page."""

    html: str
    heading: Heading


def page(name: str, written: Mapping[str, str], drawings: Sequence[Drawing]) -> str:
    """Return the page: of a run's name, all pages of its report by file name, the first one first, and its figures."""
    figures = {drawing.stem: _figure(drawing) for drawing in drawings}
    bodies = [body_of(text, figures, file, written) for file, text in written.items()]
    data = "\n".join(_data(f"chart-{d.stem}", _json(plotly_chart(d.chart)), "application/json") for d in drawings)
    libraries = [str(get_plotlyjs()) if drawings else "", _own("page.js")]
    tables = _data("datatables", base64.b64encode(_bundle("js").encode()).decode(), "text/plain")
    links = "".join(f'<li><a href="#{body.heading.anchor}">{body.heading.html}</a></li>' for body in bodies)
    nonce = _nonce(*written.values(), data, tables, *libraries)
    scripts = "\n".join(f'<script nonce="{nonce}">{script}</script>' for script in libraries if script)
    return _PAGE.format(
        title=html.escape(clean(name)),
        generator=PAGE_MARK,
        policy=_POLICY.format(nonce=nonce),
        styles=f"<style>{_bundle('css')}</style>\n<style>{_own('page.css')}</style>",
        contents=f"<ul>{links}</ul>",
        body="\n".join(f"<section>\n{body.html}</section>" for body in bodies),
        data=f"{data}\n{tables}",
        scripts=scripts,
    )


_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{generator}
<title>{title}: pruning and quantization</title>
{styles}
</head>
<body>
<nav>{contents}</nav>
<main>
{body}</main>
{data}
{scripts}
</body>
</html>
"""


def _figure(drawing: Drawing) -> str:
    """Return what stands in the place of a figure: a chart, and the picture where no script runs."""
    encoded = base64.b64encode(drawing.files["svg"]).decode()
    alt = html.escape(drawing.alt)
    return (
        f'<div class="chart" role="img" aria-label="{alt}" data-of="chart-{drawing.stem}"></div>\n'
        f'<noscript><img alt="{alt}" src="data:image/svg+xml;base64,{encoded}"></noscript>\n'
    )


def _data(name: str, content: str, kind: str) -> str:
    return f'<script type="{kind}" id="{name}">{content}</script>'


def _json(chart: Mapping[str, Any]) -> str:
    """Return a chart as JSON that cannot end the element in which it stands."""
    text = json.dumps(chart, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _nonce(*parts: str) -> str:
    """Return a value that is the same for the same page, and that nobody knows whose text is only a part of it."""
    return base64.b64encode(hashlib.sha256("\0".join(parts).encode()).digest()[:18]).decode()


def _bundle(kind: str) -> str:
    """Return DataTables and its extensions, as itables packs them: a module in JavaScript, or its styles."""
    return (files("itables") / "html" / f"dt_bundle.{kind}").read_text(encoding="utf-8")


def _own(name: str) -> str:
    return (files("sparsebench.report.html") / name).read_text(encoding="utf-8")


def body_of(markdown: str, figures: Mapping[str, str], file: str = "README.md", files: Container[str] = ()) -> Body:
    """Return Markdown of a report, in which texts of users are escaped already, as HTML.

    Args:
        markdown: one file of the report.
        figures: what is put in the place of each picture, by the stem of its file.
        file: the name of the file, from which its headings have their anchors.
        files: the files of the report, to which links become links inside the page.
    """
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = reader.parse(markdown)
    part = file.partition(".")[0].lower()
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
            inside = tokens[place + 1].content
            token.attrSet("id", part if token.tag == "h1" else f"{part}-{_anchor(inside)}")
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("href", _inside(str(child.attrGet("href")), files))
        if token.type == "table_open":
            _mark_table(tokens, place)
            done += [_raw('<div class="table">\n'), token]
        elif token.type == "table_close":
            done += [token, _raw("</div>\n")]
        else:
            done.append(token)
        place += 1
    name = "Answer" if part == "readme" else part.capitalize()
    return Body(str(reader.renderer.render(done, reader.options, {})), Heading(part, html.escape(name)))


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading of ours."""
    return re.sub(r"[^\w -]", "", html.unescape(heading).lower()).replace(" ", "-")


def _inside(target: str, files: Container[str]) -> str:
    """Return where a link to another file of the report leads in the page; other links stay as they are."""
    file, _, anchor = target.partition("#")
    if file not in files:
        return target
    part = file.partition(".")[0].lower()
    return f"#{part}-{anchor}" if anchor else f"#{part}"


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
        named = named or (token.type == "th_open" and bool(tokens[at + 1].content.strip()))
        if token.type == "td_open" and "right" in str(token.attrGet("style") or ""):
            token.attrSet("data-order", html.escape(sort_key(tokens[at + 1].content)))
    if named and rows > 1:
        tokens[place].attrSet("class", "sortable")
