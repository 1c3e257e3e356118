"""A decision as people read it in a terminal, and as programs read it."""

import json
from textwrap import fill
from typing import Any

from sparsebench.decide.answering import Proof, State
from sparsebench.decide.pick import Decision
from sparsebench.points.points import Point
from sparsebench.points.rows import finite, point_row
from sparsebench.wording.text import clean

WIDTH = 110
"""Most characters of a line, but for commands, which stay whole."""


def decision_text(decision: Decision, export: str, width: int = WIDTH) -> str:
    """Return a decision for a terminal.

    Args:
        decision: the decision.
        export: how to export the trial, or why it cannot be; unused where none is named.
        width: characters of a line, but for commands.
    """
    point, named = decision.found.point, decision.trial
    ships = point.ships.trial if point and point.ships else None
    network = f"{clean(point.label)}, seed {ships.trial.seed}" if point and ships else ""
    heading = {
        "picked": f"{State.PICKED}: {network}",
        "open": f"{State.OPEN}: {network}",
    }.get(decision.outcome, "No network can be named.")
    lines = [heading, "", *(_wrapped(reason, width) for reason in decision.reasons)]
    if decision.settle:
        lines += ["", "To settle it:", *(f"  - {way}" for way in decision.settle)]
    if named:
        lines += ["", "Export:", *(f"  {line}" for line in export.splitlines())]
    return "\n".join(lines)


def _wrapped(sentence: str, width: int) -> str:
    hanging = "    " if sentence.startswith("- ") else "  "
    return fill(
        sentence, width, initial_indent="  ", subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def decision_json(decision: Decision, export: str, exportable: bool) -> str:
    """Return a decision as JSON; points as in data.json.

    Args:
        decision: the decision.
        export: the command that exports the trial, or why it cannot be exported.
        exportable: which of the two it is.
    """
    choice, question = decision.choice, decision.choice.question
    found, trial = decision.found, decision.trial.trial if decision.trial else None
    content = {
        "outcome": decision.outcome,
        "trial": trial and {"label": trial.label, "key": trial.evaluate, "seed": trial.seed},
        "point": _row(found.point),
        "proof": _proof_row(found.proof),
        "chosen_on": choice.section.chosen_on,
        "runner_up": found.point and _row(choice.runner_up),
        "equals": [point.label for point in choice.equals],
        "better_but_open": found.better and {**(_row(found.better) or {}), "proof": _proof_row(found.better_proof)},
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


def _proof_row(proof: Proof | None) -> dict[str, Any] | None:
    if proof is None:
        return None
    suffix = proof.scale.suffix
    return {
        "state": proof.state,
        "pp" if proof.scale.share else "loss": proof.loss,
        "samples_needed": proof.samples_needed,
        f"limit{suffix}": proof.limit,
        f"low{suffix}": proof.low,
        f"high{suffix}": proof.high,
        "samples": proof.samples,
        "looks": proof.looks,
    }


def _row(point: Point | None) -> dict[str, Any] | None:
    return None if point is None else {"label": point.label, **point_row(point)}
