"""What a comparison of files means for a script: JSON, and whether the verdicts are those asked for."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from sparsebench.errors import ProblemsError
from sparsebench.export.files.timed import Exported
from sparsebench.store.environment import describe_environment
from sparsebench.timing.comparison import Comparison, Timing

_VERDICTS = ("FASTER", "EQUIVALENT", "SLOWER")

_FIGURES = ("name", "verdict", "median_ms", "p95_ms", "ratio", "low", "high", "speedup")

Judgement = Literal["as asked", "otherwise", "open"]


def parse_verdicts(text: str | None) -> tuple[str, ...]:
    """Return verdicts out of ``FASTER,EQUIVALENT``; none where none are asked for.

    Raises:
        ProblemsError: where one is not known.
    """
    found = tuple(part.strip().upper() for part in (text or "").split(",") if part.strip())
    wrong = [verdict for verdict in found if verdict not in _VERDICTS]
    if wrong or (text is not None and not found):
        problem = f"--fail-unless {text}: name one or more of {', '.join(_VERDICTS)}, with commas."
        raise ProblemsError("The command cannot be carried out:", [problem])
    return found


def parse_shapes(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return shapes out of texts such as ``1,3,224,224``.

    Raises:
        ProblemsError: with every text that is no shape.
    """
    problems, shapes = [], []
    for text in texts:
        sizes = [part.strip() for part in text.replace("x", ",").split(",")]
        if all(size.isdecimal() and int(size) > 0 for size in sizes):
            shapes.append(tuple(map(int, sizes)))
        else:
            problems.append(f"--input-shape {text}: write sizes of at least 1 with commas, such as 1,3,224,224.")
    if problems:
        raise ProblemsError("The command cannot be carried out:", problems)
    return shapes


def judge(comparison: Comparison, wanted: Sequence[str]) -> tuple[Judgement, str]:
    """Return whether a comparison is as it was asked for, and why it is not.

    ``otherwise`` says that a file has another verdict; ``open`` that there is none, or none to be trusted.

    Args:
        comparison: of the files.
        wanted: verdicts that every file but the baseline must have one of; empty where none was asked for.
    """
    if not comparison.valid:
        return "open", "the session is INVALID; none of its verdicts can be trusted."
    if not wanted:
        return "as asked", ""
    others = [timing for name, timing in comparison.items() if name != comparison.baseline]
    asked = " or ".join(wanted)
    wrong = [timing for timing in others if timing.verdict in _VERDICTS and timing.verdict not in wanted]
    if wrong:
        return "otherwise", f"asked for was {asked}, but {_told(wrong)}."
    open_ones = [timing for timing in others if timing.verdict not in wanted]
    if open_ones:
        return "open", f"asked for was {asked}, but {_told(open_ones)}; raise --seconds-cap."
    return "as asked", ""


def _told(timings: Sequence[Timing]) -> str:
    return ", ".join(f"{timing.name} is {timing.verdict}" for timing in timings)


def json_text(comparison: Comparison, files: Sequence[Exported]) -> str:
    """Return a comparison as JSON: verdicts and figures by name, without the raw samples."""
    paths = {file.name: file for file in files}
    content = {
        "valid": comparison.valid,
        "baseline": comparison.baseline,
        "variants": [
            {
                **_figures(timing),
                "file": str(paths[name].path),
                "inputs": {feed.name: list(feed.shape) for feed in paths[name].feeds},
            }
            for name, timing in comparison.items()
        ],
        "controls": [_figures(control) for control in comparison.controls],
        "stopped": comparison.stopped,
        "rounds": len(comparison.rounds),
        **{name: getattr(comparison, name) for name in ("seconds", "threads", "band", "precision", "seed")},
        "conditions": comparison.conditions,
        "environment": asdict(describe_environment()),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, default=dict)


def _figures(timing: Timing) -> dict[str, Any]:
    return {name: getattr(timing, name) for name in _FIGURES}
