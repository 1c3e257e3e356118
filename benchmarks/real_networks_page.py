"""The page of benchmarks/real_networks.py: networks × ways, and why what does not work does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.registry import BACKENDS, SCHEMES

WORKS = "works"
COMMAND = "python benchmarks/real_networks.py --out reports/real_networks"
SIZES = (
    "Images have 64 × 64 pixels, and 224 × 224 for swin_t, whose windows are whole at that size alone: layers and most "
    "weights are those of the full size, and the table takes half an hour in place of many."
)
"""As benchmarks/real_nets.py has them, which cannot be imported without torch."""

Key = tuple[str, str, str]
"""A network, a backend and a scheme."""


@dataclass(frozen=True)
class About:
    """What all cells have in common: data and threads, the digest of the code, and the versions of libraries."""

    data: str
    code: str
    versions: str


def page(done: Mapping[Key, Mapping[str, Any]], missing: Mapping[str, str], about: About) -> str:
    """Return the table: networks × ways, with the reasons of what does not work.

    Args:
        done: what came of each cell.
        missing: why a network cannot be built here, by its name; empty where it can.
        about: what all cells have in common.
    """
    ways = sorted({(backend, scheme) for _, backend, scheme in done}, key=_order)
    reasons: dict[str, int] = {}
    rows = [[name, *(_cell(done.get((name, *way)), missing[name], reasons) for way in ways)] for name in missing]
    works = sum(told["result"] == WORKS for told in done.values())
    share = f"{works / len(done):.1%}" if done else "–"
    lines = [
        "# Real networks through all schemes and runtimes",
        "",
        f"Made by `{COMMAND}`: random weights, {about.data}; all cells by the code of digest `{about.code}`, with "
        f"{about.versions}.",
        "",
        SIZES,
        "",
        f"**{works} of {len(done)} cells work ({share})**. A number is the reason below, – was not tried.",
        "",
        _row(["network", *(f"{backend} {scheme}" for backend, scheme in ways)]),
        _row(["---"] * (len(ways) + 1)),
        *map(_row, rows),
        "",
        *(f"{number}. {_escaped(reason)}" for reason, number in reasons.items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _cell(told: Mapping[str, Any] | None, missing: str, reasons: dict[str, int]) -> str:
    if missing:
        return f"({reasons.setdefault(f'{missing}, so that its networks are not tried', len(reasons) + 1)})"
    if told is None:
        return "–"
    if told["result"] != WORKS:
        return f"({reasons.setdefault(told['result'], len(reasons) + 1)})"
    notes = [f"({reasons.setdefault(note, len(reasons) + 1)})" for note in told.get("told", ())]
    return " ".join([WORKS, *notes])


def _order(way: tuple[str, str]) -> tuple[int, int]:
    return list(BACKENDS).index(way[0]), list(SCHEMES).index(way[1])


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, values))} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
