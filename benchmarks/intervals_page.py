"""The page on intervals of drops, and on gates and picks that go by them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import intervals_drops as drops
import intervals_gates as gates
import intervals_picks as picks
from performance_page import table

COVER, BROKEN = 0.93, 0.05
"""Targets: an interval covers at least, a gate breaks at most though nothing changed."""

PICKED = 0.80
"""Target: so many of the networks that lose half of the limit are PICKED."""

ENOUGH_SEEDS = 3
"""From so many seeds up the targets hold; two seeds are shown as they come."""

MISSED = " **missed**"
COMMAND = "python benchmarks/perf_intervals.py"

Pieces = Sequence[Mapping[str, Any]]
Cell = Mapping[str, Any]


def page(pieces: Mapping[str, Pieces]) -> tuple[str, list[dict[str, Any]]]:
    """Return the page, and the rows that the page of all measurements shows of it."""
    found = {part: _largest(pieces.get(part, ())) for part in ("drops", "gates", "picks")}
    parts = [
        "# Intervals of accuracy drops, gates and picks",
        "Simulated runs, whose truth is known. `" + COMMAND + "` makes this page; the intervals are those of "
        "`sparsebench.statistics.differences`, described in "
        "[the statistics](../../docs/explanation/statistics.md#accuracy-differences).",
    ]
    parts += _drops(found["drops"]) if found["drops"] else []
    parts += _gates(found["gates"]) if found["gates"] else []
    parts += _picks(found["picks"]) if found["picks"] else []
    return "\n\n".join(parts), [*_drop_rows(found["drops"]), *_gate_rows(found["gates"]), *_pick_rows(found["picks"])]


def _largest(pieces: Pieces) -> Pieces:
    """Return one piece of each kind, that of most simulated runs."""
    found: dict[Any, Mapping[str, Any]] = {}
    for piece in sorted(pieces, key=_size):
        found[piece.get("kind"), piece.get("rows"), piece.get("validated"), piece.get("seeds")] = piece
    return list(found.values())


def _size(piece: Mapping[str, Any]) -> int:
    return int(piece.get("tables") or piece.get("runs") or piece["comparisons"])


# -- drops -------------------------------------------------------------------------------------------------------------


def _drops(pieces: Pieces) -> list[str]:
    kinds = "; ".join(drops.KINDS.values())
    losses = ", ".join(f"{100 * drop:g} points at {100 * differ:g} %" for drop, differ in drops.DROPS)
    several = [seeds for seeds in drops.SEEDS if seeds > 1]
    return [
        "## Coverage and width",
        f"{min(map(_size, pieces)):,} tables of samples × seeds for each of {len(drops.KINDS)} ways to lose samples "
        f"({kinds}) and {len(drops.DROPS)} mean drops ({losses} of samples at which a network and its baseline "
        "differ). *Deviation* is the standard deviation of the true drop from one training to the next. In each cell "
        "stands the worst coverage of all ways and drops, and the mean half-width in points. Target: "
        f"≥ {COVER:.0%} from {ENOUGH_SEEDS} seeds up; 2 seeds as they come. A share has a standard error of "
        f"{100 * (0.95 * 0.05 / min(map(_size, pieces))) ** 0.5:.1f} points.",
        "### Another training: other test samples and other trainings",
        _coverage(pieces, several, "another", "another_half", checked=True),
        "### These networks: other test samples",
        _coverage(pieces, drops.SEEDS, "these", "these_half", checked=True),
        "### What averaged limits do",
        "The interval of each seed for itself, limits averaged over seeds, as it was before. It is too wide for these "
        "networks and says nothing about another training. Worst coverage over another training, then the best "
        "over these networks:",
        _coverage(pieces, several, "averaged", None, checked=False, best="averaged_these"),
        "### p-values",
        f"{_contradictions(pieces):,} of {_judged(pieces):,} p-values contradict their interval: p ≤ 5 % where the "
        "95 % interval leaves 0 out, and only there.",
    ]


def _coverage(
    pieces: Pieces, seeds: Sequence[int], share: str, half: str | None, checked: bool, best: str | None = None
) -> str:
    lines = []
    for samples in drops.SAMPLES:
        for deviation in drops.DEVIATIONS:
            line = [f"{samples:,}", f"{100 * deviation:g}"]
            for count in seeds:
                cells = [
                    cell
                    for cell in _cells(pieces, lambda piece, count=count: piece["seeds"] == count)
                    if (cell["samples"], cell["deviation"]) == (samples, deviation)
                ]
                worst = min(cell[share] for cell in cells)
                text = _percent(worst)
                if half:
                    text += f" ({100 * sum(cell[half] for cell in cells) / len(cells):.2f})"
                if best:
                    text += f" / {_percent(max(cell[best] for cell in cells))}"
                line.append(text + MISSED * (checked and worst < COVER and count != 2))
            lines.append(line)
    heading = ["samples", "deviation, points", *(f"{count} seed{'s' * (count > 1)}" for count in seeds)]
    return table(heading, "r" * len(heading), lines)


def _cells(pieces: Pieces, wanted: Callable[[Mapping[str, Any]], bool]) -> list[Cell]:
    return [cell for piece in pieces if wanted(piece) for cell in piece["cells"]]


def _contradictions(pieces: Pieces) -> int:
    return int(sum(cell["contradictions"] for piece in pieces for cell in piece["cells"]))


def _judged(pieces: Pieces) -> int:
    return sum(len(piece["cells"]) * piece["tables"] * (1 + (piece["seeds"] > 1)) for piece in pieces)


def _drop_rows(pieces: Pieces) -> list[dict[str, Any]]:
    rows = []
    for share, name, least in (("another", "another training", ENOUGH_SEEDS), ("these", "these networks", 1)):
        cells = _cells(pieces, lambda piece, least=least: piece["seeds"] >= least)
        if cells:
            what = f"interval over {name} covers the true drop, worst of {len(cells)} simulated settings"
            rows.append(_row(what, min(cell[share] for cell in cells), COVER, at_least=True))
    return rows


# -- gates -------------------------------------------------------------------------------------------------------------


def _gates(pieces: Pieces) -> list[str]:
    heading = ["rows", "seeds", "samples", "deviation, points", "broken, %", "broken by these networks, %"]
    heading += ["finds drops above, points", *(f"{100 * loss:g} points found, %" for loss in gates.LOSSES)]
    lines = []
    for piece in pieces:
        for cell in piece["cells"]:
            missed = piece["seeds"] >= ENOUGH_SEEDS and cell["broken"] > BROKEN
            lines.append(
                [
                    *(str(piece["rows"]), str(piece["seeds"]), f"{cell['samples']:,}", f"{100 * cell['deviation']:g}"),
                    _percent(cell["broken"]) + MISSED * missed,
                    _percent(cell["broken_these"]),
                    f"{cell['finds']:.1f}",
                    *(_percent(cell[f"found {loss}"]) for loss in gates.LOSSES),
                ]
            )
    return [
        "## Gates",
        f"`accuracy_drop>{100 * gates.LIMIT:g}pp` between two runs, all of whose networks were trained anew: "
        f"{min(map(_size, pieces)):,} comparisons a row. A tenth of the samples is hard; a training is right at half "
        "of them, so that two trainings of one network differ at one sample in twenty. *Deviation* is the standard "
        "deviation of the true accuracy from one training to the next; rows are networks of their own. *Broken*: the "
        f"gate breaks though nothing changed; target ≤ {BROKEN:.0%} from {ENOUGH_SEEDS} seeds up. *Broken by these "
        "networks*: what it would do if it went by the interval for these networks, as with one seed. *Finds drops "
        "above*: what the gate says of itself, in the mean. *Found*: one row truly lost so much, and that row breaks "
        "the gate.",
        table(heading, "r" * len(heading), lines),
    ]


def _gate_rows(pieces: Pieces) -> list[dict[str, Any]]:
    cells = _cells(pieces, lambda piece: piece["seeds"] >= ENOUGH_SEEDS)
    if not cells:
        return []
    rows = [
        _row(
            f"gate on accuracy breaks though nothing changed, {ENOUGH_SEEDS} seeds or more, worst of {len(cells)} "
            "simulated settings",
            max(cell["broken"] for cell in cells),
            BROKEN,
            at_least=False,
        )
    ]
    for piece in (piece for piece in pieces if piece["seeds"] == max(gates.SEEDS)):
        most = [cell for cell in piece["cells"] if cell["samples"] == max(gates.SAMPLES)]
        rows += [_row(_found(piece, cell), cell[f"found {gates.LOSSES[1]}"]) for cell in most]
    return rows


def _found(piece: Mapping[str, Any], cell: Cell) -> str:
    return (
        f"gate on accuracy finds a loss of {100 * gates.LOSSES[1]:g} points: {piece['seeds']} seeds, {piece['rows']} "
        f"row{'s' * (piece['rows'] > 1)}, {cell['samples']:,} samples, deviation {100 * cell['deviation']:g} points"
    )


# -- picks -------------------------------------------------------------------------------------------------------------


def _picks(pieces: Pieces) -> list[str]:
    heading = ["networks", "chosen on", "samples", "differ, %", "PICKED, %", "breaks in truth, %", "before, %"]
    lines = [
        [
            picks.KINDS[piece["kind"]],
            "validation" if piece["validated"] else "test",
            *(f"{cell['samples']:,}", f"{100 * cell['differ']:g}"),
            _percent(cell["picked"]),
            _percent(cell["broken"]) + MISSED * (cell["broken"] > BROKEN),
            f"{_percent(cell['broken before'])} of {_percent(cell['named before'])}",
        ]
        for piece in pieces
        for cell in piece["cells"]
    ]
    return [
        "## Picks",
        f"`pick --max-drop {100 * picks.LIMIT:g}pp`, {min(map(_size, pieces)):,} runs a row, read by the product's own "
        "code. Validation and test set have the same number of samples. *Differ*: share of samples at which a network "
        "and its dense one differ beside those that it loses in the long run. *Breaks in truth*: a network is PICKED "
        f"that loses more than the limit in the long run; target ≤ {BROKEN:.0%} of the runs. *Before*: the smallest "
        "network whose mean drop on the test set keeps the limit is named, as it was until now; how often that breaks "
        "it, of how often one is named. What is not PICKED is OPEN, or nothing keeps the limit.",
        table(heading, "llrrrrr", lines),
        _enough(pieces),
    ]


def _enough(pieces: Pieces) -> str:
    """Return from how many samples four of five networks are PICKED that lose half of the limit."""
    said = []
    for differ in picks.DIFFER:
        cells = [
            cell
            for cell in _cells(pieces, lambda piece: piece["kind"] == "half" and piece["validated"])
            if cell["differ"] == differ
        ]
        enough = next((cell["samples"] for cell in cells if cell["picked"] >= PICKED), None)
        many = f"{enough:,}" if enough else f"more than {max(picks.SAMPLES):,}"
        said.append(f"{many} test samples where networks differ at {100 * differ:g} % of them")
    return (
        f"At least {PICKED:.0%} of the networks that lose half of the limit are PICKED from "
        + ", and ".join(said)
        + "."
    )


def _pick_rows(pieces: Pieces) -> list[dict[str, Any]]:
    rows = []
    cells = _cells(pieces, lambda piece: True)
    if cells:
        what = f"PICKED network breaks its limit in truth, worst of {len(cells)} simulated settings"
        rows.append(_row(what, max(cell["broken"] for cell in cells), BROKEN, at_least=False))
    for cell in _cells(pieces, lambda piece: piece["kind"] == "half" and piece["validated"]):
        if cell["samples"] == max(picks.SAMPLES):
            what = (
                f"network that loses half of the limit is PICKED: {cell['samples']:,} samples, of which it differs at "
                f"{100 * cell['differ']:g} %"
            )
            rows.append(_row(what, cell["picked"], PICKED, at_least=True))
    return rows


def _row(what: str, figure: float, target: float | None = None, at_least: bool | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "figure": figure, "unit": "%", "command": COMMAND}
    if target is not None:
        row |= {"target": target, "at_least": at_least, "met": figure >= target if at_least else figure <= target}
    return row


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
