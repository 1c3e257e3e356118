"""The page's account of simulated sessions."""

from collections.abc import Mapping, Sequence
from typing import Any

from performance_page import table
from verdicts_simulated import (
    BAND,
    BEYOND,
    BURST,
    COUNTS,
    EFFECTS,
    INSIDE,
    LIMITS,
    MEMORY,
    NOISE,
    POWER,
    PRECISION,
    PROCESSES,
    ROUNDS,
    TRUTHS,
)

COVER, WRONG, FOUND = 0.93, 0.05, 0.9
"""Targets: all intervals cover at least, some verdict is wrong at most, a difference is found at least."""

METHODS = {"processes": "over processes", "rounds": "intervals from rounds"}
MISSED = " **missed**"

Rows = Sequence[Mapping[str, Any]]


def section(found: Rows) -> str:
    """Return the tables of simulated sessions, and how they were made."""
    if not found:
        return ""
    sessions = min(row["sessions"] for row in found)
    most = " or ".join(map(str, LIMITS))
    rounds = ", ".join(f"{count} rounds a process for {_variants(variants)}" for variants, count in ROUNDS.items())
    parts = [
        "## Simulated sessions",
        f"{sessions:,} sessions a row. Each is carried out as the protocol says: four copies of the baseline and the "
        f"variants, in a random order of loading in each process and of blocks in each round; {PROCESSES} processes, a "
        f"look at the widths, and {most} processes in all where some interval reaches {100 * PRECISION:g} % or more to "
        f"either side; {rounds}. A block has noise of {100 * NOISE:g} % in every row, and in each row what its name "
        f"says besides: *process* is the standard deviation of what each process does to each network, *place* by how "
        "much the network that a process loads first is faster; noise that neighbouring blocks have in common has a "
        f"correlation of {MEMORY:g} from block to block; bursts slow a block down by up to {100 * BURST:g} %.",
        "*Intervals from rounds* is what is common elsewhere: one baseline that is always loaded first, with blocks at "
        "the begin, at the end and between; a bootstrap over whole rounds within processes gives the interval of one "
        "variant at a time; FASTER and SLOWER come from a sign test over rounds against *no difference*, with Holm's "
        "correction at 0.01, where the median is beyond the band. It has the same processes, rounds and looks, and a "
        "control, which is a further copy.",
        f"*Cover*: all intervals of the variants that are printed hold their truths. *Wrong*: some variant's verdict "
        f"is wrong; where all differences are 0 or {100 * INSIDE:g} %, FASTER and SLOWER are, where they are "
        f"{100 * BEYOND:g} %, EQUIVALENT is. Of both signs the worse counts. Every session counts, whatever its "
        f"controls say. The band is {100 * BAND:g} %. Targets: cover ≥ {COVER:.0%}, wrong ≤ {WRONG:.0%}. A share has a "
        f"standard error of at most {50 / sessions**0.5:.1f} points, near 5 % of "
        f"{100 * (0.05 * 0.95 / sessions) ** 0.5:.1f}. Figures before and behind a slash are with at most {LIMITS[0]} "
        f"and {LIMITS[1]} processes.",
    ]
    for variants in ROUNDS:
        here = _in_order(found, variants)
        if here:
            parts.append(
                f"### {_variants(variants).capitalize()}, judged over processes\n\n{_table(here, 'processes')}"
            )
            parts.append(
                f"<details>\n<summary>{_variants(variants)}, intervals from rounds</summary>\n\n"
                f"{_table(here, 'rounds')}\n\n</details>"
            )
    parts.append("### How often a difference is found")
    parts.append(
        f"Share of networks that are called FASTER or SLOWER as they are, in the mean of both directions, with so many "
        f"processes. Target: ≥ {FOUND:.0%}, or how many processes that takes."
    )
    parts.append(_powers(found))
    return "\n\n".join(parts)


def _variants(count: int) -> str:
    return f"{count} variant{'s' * (count > 1)}"


def _in_order(found: Rows, variants: int) -> list[Mapping[str, Any]]:
    rows = {row["effect"]: row for row in found if row["variants"] == variants}
    return [rows[effect.name] for effect in EFFECTS if effect.name in rows]


def wrong(shares: Mapping[str, float], truth: str, most: int) -> float:
    """Return the share of sessions with a wrong verdict, of the worse sign."""
    return max(value for key, value in shares.items() if key in (f"wrong {truth} + {most}", f"wrong {truth} - {most}"))


def _table(rows: Rows, method: str) -> str:
    controls = ("copies cover", "valid", "noisy", "invalid") if method == "processes" else ("valid", "invalid")
    names = {"copies cover": "copies' intervals cover", "valid": "VALID", "noisy": "NOISY", "invalid": "INVALID"}
    heading = ["effect", "cover, %"]
    heading += ["wrong at 0, %", f"wrong at ±{100 * INSIDE:g} %, %", f"wrong at ±{100 * BEYOND:g} %, %"]
    heading += [f"{names[name]}, %" for name in controls] + ["half-width, %", "processes"]
    lines = []
    for row in rows:
        shares = row["methods"][method]
        line = [row["effect"], _both([shares[f"cover {most}"] for most in LIMITS], lambda share: share < COVER)]
        line += [
            _both([wrong(shares, truth, most) for most in LIMITS], lambda share: share > WRONG) for truth in TRUTHS
        ]
        line += [_both([shares[f"{name} {most}"] for most in LIMITS]) for name in controls]
        line.append(_both([shares[f"half {most}"] for most in LIMITS], digits=2))
        line.append(" / ".join(f"{shares[f'processes {most}']:.1f}" for most in LIMITS))
        lines.append(line)
    return table(heading, "-" + "r" * (len(heading) - 1), lines)


def _both(shares: Sequence[float], missed=lambda share: False, digits: int = 1) -> str:
    text = " / ".join(f"{100 * share:.{digits}f}" for share in shares)
    return text + MISSED * any(missed(share) for share in shares)


def _powers(found: Rows) -> str:
    lines = []
    for row in (row for variants in ROUNDS for row in _in_order(found, variants) if row["effect"] in POWER):
        for method, name in METHODS.items():
            shares = row["methods"][method]
            powers = {count: shares[f"power {count}"] for count in COUNTS}
            enough = enough_processes(shares)
            lines.append(
                [f"±{POWER[row['effect']]:.0%}", row["effect"], str(row["variants"]), name]
                + [f"{100 * power:.1f}" for power in powers.values()]
                + [str(enough) if enough else f"> {COUNTS[-1]}{MISSED}"]
            )
    heading = ["difference", "effect", "variants", "judged", *(f"{count} processes, %" for count in COUNTS)]
    return table([*heading, f"≥ {FOUND:.0%} from"], "--r-" + "r" * (len(COUNTS) + 1), lines)


def enough_processes(shares: Mapping[str, float]) -> int | None:
    """Return the fewest processes, of those simulated, that find a difference often enough."""
    return next((count for count in COUNTS if shares[f"power {count}"] >= FOUND), None)


def page_rows(found: Rows) -> list[dict[str, Any]]:
    """Return what the page of all measurements shows of it: the worst of all effects and numbers of processes."""
    rows = []
    for variants in ROUNDS:
        here = _in_order(found, variants)
        for method, name in METHODS.items() if here else ():
            own = method == "processes"
            every = [(row["methods"][method], most) for row in here for most in LIMITS]
            cover = min(shares[f"cover {most}"] for shares, most in every)
            worst = max(wrong(shares, truth, most) for shares, most in every for truth in TRUTHS)
            where = f"simulated sessions of {_variants(variants)}, worst of {len(here)} effects: {name}"
            rows.append(_share(f"all intervals cover, {where}", cover, COVER if own else None, True))
            rows.append(_share(f"some verdict is wrong, {where}", worst, WRONG if own else None, False))
            for row in (row for row in here if row["effect"] in POWER):
                shares = row["methods"][method]
                count = enough_processes(shares) if own else LIMITS[0]
                what = f"±{POWER[row['effect']]:.0%} is found, {_variants(variants)}, {row['effect']}"
                what += f", {count or COUNTS[-1]} processes: {name}"
                rows.append(_share(what, shares[f"power {count or COUNTS[-1]}"], FOUND if own else None, True))
    return rows


def _share(what: str, figure: float, target: float | None, at_least: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "figure": figure, "unit": "%"}
    if target is not None:
        row |= {"target": target, "at_least": at_least, "met": figure >= target if at_least else figure <= target}
    return row
