"""Formulas for the documentation's pages: LaTeX in, MathML out, so that no page needs a script to show them.

zensical.toml names ``fence`` for blocks that are fenced as ``math``, which GitHub renders by itself.
"""

from collections.abc import Mapping
from typing import Any

from latex2mathml.converter import convert


def fence(source: str, language: str, css_class: str, options: Mapping[str, Any], md: object, **_: Any) -> str:
    """Return the HTML of a fenced formula; the parameters are those of pymdownx.superfences."""
    del language, options, md
    return f'<div class="{css_class}">{convert(source.strip(), display="block")}</div>'
