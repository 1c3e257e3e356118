"""A decision as people and as programs read it."""

import json
from textwrap import fill
from typing import Any

from sparsebench.decide.choosing import Choice
from sparsebench.decide.pick import Decision
from sparsebench.points.points import Point
from sparsebench.points.rows import finite, point_row
from sparsebench.wording.text import clean

WIDTH = 110
"""Characters of a line, but for commands, which stay whole."""


def decision_text(decision: Decision, export: str) -> str:
    """Return a decision for a terminal.

    Args:
        decision: the decision.
        export: how to export the trial, or why it cannot be; unused where none is named.
    """
    winner = decision.choice.winner
    if decision.trial is None or winner is None:
        heading = "No trial can be named."
    else:
        heading = f"{clean(winner.label)}, seed {decision.trial.trial.seed}"
    lines = [heading, "", *map(_wrapped, decision.reasons)]
    if decision.settle:
        lines += ["", "To settle it:", *(f"  - {way}" for way in decision.settle)]
    if decision.trial is not None:
        lines += ["", "Export:", *(f"  {line}" for line in export.splitlines())]
    return "\n".join(lines)


def _wrapped(sentence: str) -> str:
    hanging = "    " if sentence.startswith("- ") else "  "
    return fill(
        sentence, WIDTH, initial_indent="  ", subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def decision_json(decision: Decision, export: str, exportable: bool) -> str:
    """Return a decision as JSON; points as in data.json.

    Args:
        decision: the decision.
        export: the command that exports the trial, or why it cannot be exported.
        exportable: which of the two it is.
    """
    choice, question = decision.choice, decision.choice.question
    trial = decision.trial.trial if decision.trial else None
    content = {
        "outcome": decision.outcome,
        "trial": trial and {"label": trial.label, "key": trial.evaluate, "seed": trial.seed},
        "point": trial and _row(choice.winner),
        "runner_up": trial and _row(choice.runner_up),
        "not_told_apart": [] if trial else _tied(choice),
        "candidates": [point.label for point in choice.candidates],
        "question": {
            "objective": question.objective,
            "then": question.then,
            "limits": question.limits,
            "strict": question.strict,
            "model": choice.section.model,
            "data": choice.section.data,
            "setting": choice.section.setting,
        },
        "reasons": decision.reasons,
        "settle": decision.settle,
        "export": export if trial and exportable else None,
        "not_exported_because": export if trial and not exportable else None,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, default=str)


def _tied(choice: Choice) -> list[dict[str, Any] | None]:
    last = choice.steps[-1]
    return [_row(point) for point in (last.best, *last.rivals)] if last.best else []


def _row(point: Point | None) -> dict[str, Any] | None:
    return None if point is None else {"label": point.label, **point_row(point)}
