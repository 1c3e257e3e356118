"""Names that try to break out of wherever they are shown, and the records of a run that is full of them."""

from dataclasses import replace

from handmade import ENVIRONMENT, LAYERS, Bench
from hypothesis import strategies as st

from sparsebench.store.records import Failure, Run

FRAGMENTS = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg/onload=window.pwned=1>",
    "</details></td></table>",
    '"><b onmouseover=window.pwned=1>',
    "<!--",
    "-->",
    "]]>",
    "[x](javascript:window.pwned=1)",
    "![x](https://example.org/x.png)",
    "<https://example.org>",
    "|",
    "\\|",
    "`",
    "```",
    "~~~",
    "\n\n# heading\n\n",
    "\n- item\n",
    "\n    code\n",
    "\n\n<div>\n\n",
    "\r\n",
    "\u2028",
    "\x00",
    "\u202e",
    "../../../etc/passwd",
    "C:\\windows\\..",
    "%{x}",
    "$\\frac{1}{2}$",
    "{{7*7}}",
    "{title}",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "=cmd()",
    "a,b;c",
    '"',
    "'",
    "*",
    "_",
    "网络",
)

names = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), min_size=1, max_size=4).map("".join).filter(bool)
"""Names made of such fragments and of any other text."""


def nasty_run(name: str, other: str) -> Run:
    """Return a run in which everything that users name is called by one of two names."""
    bench = Bench(
        pairs=((name, other), (other, name)),
        schemes=("fp32", f"a{name}", f"b{other}"),
        backends=("eager", f"c{other}"),
        pruners=(f"d{name}", f"e{other}"),
        thresholds=(0.0, 0.5),
        seeds=(0,),
        layers=[(f"{name}{number}", kind, weights) for number, (_, kind, weights) in enumerate(LAYERS)],
        failed={(0.5, 0, f"a{name}", "eager"): Failure(error=name, message=other, traceback=name)},
        not_offered={(f"b{other}", f"c{other}"): name},
        warnings={0.5: (other,)},
        name=name,
        command=name,
        config={"name": other, name: [other]},
    )
    run = bench.build()
    environment = replace(ENVIRONMENT, cpu=name, os=other, gpu=name, versions={name: other}, commit=other)
    return replace(run, record=replace(run.record, environment=environment))
