"""An explanation as a terminal shows it, and as JSON."""

import json
import textwrap
from dataclasses import asdict

from tabulate import tabulate

from sparsebench.explain.findings import GROUPS, Explanation, Profile
from sparsebench.wording.numbers import DASH, decimal

MOST_LAYERS = 12
"""Layers that a table shows: those in which the two differ most."""


def explanation_text(explanation: Explanation, width: int = 80) -> str:
    """Return what is to be said, and where the time goes: by kind of operator, and by layer."""
    said = [textwrap.fill(sentence, width) for sentence in explanation.sentences]
    tables = [table for pair in explanation.pairs for table in (_by_group(*pair), _by_layer(*pair)) if table]
    threads = explanation.threads
    note = (
        f"Microseconds of one call on {threads} thread{'s' * (threads > 1)}, as the runtimes' own profilers tell them, "
        "which makes each operator a little slower. They are no verdict: the report has those."
    )
    return "\n\n".join([*said, *tables, textwrap.fill(note, width)])


def explanation_json(explanation: Explanation) -> str:
    """Return the same as JSON, every operator included."""
    content = {"sentences": explanation.sentences, "threads": explanation.threads}
    content["profiles"] = [asdict(profile) for pair in explanation.pairs for profile in pair]
    return json.dumps(content, indent=1)


def _by_group(base: Profile, other: Profile) -> str:
    rows = []
    for group in GROUPS:
        times = [one.of_group(group) for one in (base, other)]
        if any(times):
            shares = [f"{100 * at / one.total:.0f} %" for at, one in zip(times, (base, other), strict=True)]
            rows.append([group, *map(_number, times), *shares])
    headings = [f"batch {base.batch_size}", base.label, other.label, "share", "share"]
    return tabulate(rows, headings, disable_numparse=True, colalign=("left", *["right"] * 4))


def _by_layer(base: Profile, other: Profile) -> str:
    names = list(dict.fromkeys([*other.layers(), *base.layers()]))
    times = {name: [sum(part.microseconds for part in one.of_layer(name)) for one in (base, other)] for name in names}
    shown = sorted(names, key=lambda name: -abs(times[name][1] - times[name][0]))[:MOST_LAYERS]
    rows = [[name, *map(_number, times[name]), _ran(base, other, name)] for name in names if name in shown]
    headings = [f"batch {base.batch_size}", base.label, other.label, "mostly"]
    return tabulate(rows, headings, disable_numparse=True, colalign=("left", "right", "right", "left")) if rows else ""


def _number(microseconds: float) -> str:
    return decimal(microseconds, 1) if microseconds else DASH


def _ran(base: Profile, other: Profile, layer: str) -> str:
    ways = []
    for one in (base, other):
        most = max(one.of_layer(layer), key=lambda part: part.microseconds, default=None)
        ways.append(DASH if most is None else most.operator)
    return " → ".join(dict.fromkeys(ways))
