"""What the command line says in words: shapes and verdicts."""

import re
from collections.abc import Sequence

from sparsebench.errors import ProblemsError

_VERDICTS = ("FASTER", "EQUIVALENT", "SLOWER")

_SIZE = re.compile(r"[1-9][0-9]{0,9}")
_LARGEST = 2**31 - 1


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
        if all(_SIZE.fullmatch(size) and int(size) <= _LARGEST for size in sizes):
            shapes.append(tuple(map(int, sizes)))
        else:
            problems.append(
                f"--input-shape {text[:60]}: write sizes of at least 1 with commas, such as 1,3,224,224; at most "
                f"{_LARGEST} each."
            )
    if problems:
        raise ProblemsError("The command cannot be carried out:", problems)
    return shapes
