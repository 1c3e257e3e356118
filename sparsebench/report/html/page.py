"""The report as one self-contained page: its Markdown, with tables that sort and filter and charts that tell values.

Nothing is fetched: styles, scripts and data stand in the page, and its content security policy forbids everything else.
Scripts run only where they carry the page's nonce, so that not even a name that slipped through all escaping could run.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from sparsebench.report.figures.drawings import Drawing
from sparsebench.report.files import PAGE_MARK
from sparsebench.report.html.body import Body, body_of
from sparsebench.report.html.charts import plotly_chart
from sparsebench.wording.text import clean


def page(name: str, markdown: str, drawings: Sequence[Drawing]) -> str:
    """Return the page: of a run's name, its report as it stands in README.md, and its figures."""
    body = body_of(markdown, {drawing.stem: _figure(drawing) for drawing in drawings})
    data = "\n".join(_data(f"chart-{d.stem}", _json(plotly_chart(d.chart)), "application/json") for d in drawings)
    libraries = [_plotly() if drawings else "", _own("page.js")]
    tables = _data("datatables", base64.b64encode(_bundle("js").encode()).decode(), "text/plain")
    nonce = _nonce(markdown, data, tables, *libraries)
    scripts = "\n".join(f'<script nonce="{nonce}">{script}</script>' for script in libraries if script)
    return _PAGE.format(
        title=html.escape(clean(name)),
        generator=PAGE_MARK,
        policy=_POLICY.format(nonce=nonce),
        styles=f"<style>{_bundle('css')}</style>\n<style>{_own('page.css')}</style>",
        contents=_contents(body),
        body=body.html,
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


def _contents(body: Body) -> str:
    links = (f'<li><a href="#{heading.anchor}">{heading.html}</a></li>' for heading in body.headings)
    return f"<ul>{''.join(links)}</ul>"


def _data(name: str, content: str, kind: str) -> str:
    return f'<script type="{kind}" id="{name}">{content}</script>'


def _json(chart: Mapping[str, Any]) -> str:
    """Return a chart as JSON that cannot end the element in which it stands."""
    text = json.dumps(chart, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _nonce(*parts: str) -> str:
    """Return a value that is the same for the same page, and that nobody knows whose text is only a part of it."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b64encode(digest[:18]).decode()


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _bundle(kind: str) -> str:
    """Return DataTables and its extensions, as itables packs them: a module in JavaScript, or its styles."""
    return (files("itables") / "html" / f"dt_bundle.{kind}").read_text(encoding="utf-8")


def _own(name: str) -> str:
    return (files("sparsebench.report.html") / name).read_text(encoding="utf-8")
