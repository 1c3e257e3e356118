"""The page's account of sessions on this machine whose truth is known: copies, and networks with more work."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from measuring import mean_interval
from performance_page import table
from verdicts_measured import MOST_SECONDS, NETWORKS, PLANS, RESOLUTION, WANTED, Plan

MEAN, INCLUDE, VALID = 0.008, 0.9, 0.9
"""Targets: the mean of copies is 1 within it; so many intervals include 1; so many quiet sessions are VALID."""

SECONDS = 60
"""The longest that a session lasts, where no other time is asked for."""

Pieces = Sequence[Mapping[str, Any]]
Rows = list[dict[str, Any]]


def copies(found: Pieces) -> tuple[str, Rows]:
    """Return the account of sessions of copies."""
    lines, rows = [], []
    for plan, here in sessions_by_plan(found, "copies"):
        networks = networks_of(here)
        by_session = [float(np.mean(np.log([n["speedup"] for n in one["networks"].values()]))) for one in here]
        by_process = [
            float(value)
            for one in here
            for value in np.log([n["by_process"] for n in one["networks"].values()]).mean(axis=0)
        ]
        mean, low, high = _interval(by_session)
        includes = sum(n["low"] <= 1 <= n["high"] for n in networks) / len(networks)
        said = Counter(n["verdict"] for n in networks)
        false = said["FASTER"] + said["SLOWER"]
        right = abs(mean - 1) <= MEAN and low <= 1 <= high
        lines.append(
            [
                plan.name,
                str(len(here)),
                _written((mean, low, high)),
                yes_no(right),
                _written(_interval(by_process)),
                f"{100 * includes:.1f} % of {len(networks)}",
                yes_no(includes >= INCLUDE),
                str(false),
                yes_no(not false),
                str(said["EQUIVALENT"]),
                str(said["INCONCLUSIVE"]),
                _states(here),
                f"{100 * np.median([one['resolution'] for one in here]):.1f} %",
            ]
        )
        where = f"{len(here)} sessions of {NETWORKS} copies of {plan.name}"
        rows += [
            {
                "what": f"mean speedup, {where}",
                "figure": mean,
                "low": None if math.isnan(low) else low,
                "high": None if math.isnan(high) else high,
                "unit": "×",
                "target": f"1 ± {MEAN:g}, interval includes 1",
                "met": right,
            },
            page_row(f"intervals that include 1, {where}", includes, "%", INCLUDE, includes >= INCLUDE),
            page_row(f"false verdicts, {where}", f"{false} of {len(networks)}", "", "0", false == 0),
        ]
    if not lines:
        return "", []
    heading = ["copies", "sessions", "mean speedup [95 %], over sessions", f"1 ± {MEAN:g}, and includes 1"]
    heading += ["mean [95 %], over processes", "intervals that include 1", f"≥ {INCLUDE:.0%}", "FASTER or SLOWER", "0"]
    heading += ["EQUIVALENT", "INCONCLUSIVE", "VALID / NOISY / INVALID", "resolution, median"]
    text = (
        f"## Copies of one network\n\nEach session compares {NETWORKS} copies of one network, which have the same "
        f"speed: a baseline and {NETWORKS - 1} others, batch 1, one thread, at most {SECONDS} s. The mean is that of "
        "the logarithms of all speedups; the first interval is Student's t over the sessions' means, by which the "
        "target is judged, the second Student's t over all processes. Every verdict counts, whatever the controls say."
    )
    return f"{text}\n\n{table(heading, '-rr-rr-r-rrrr', lines)}", rows


def slower(found: Pieces) -> tuple[str, Rows]:
    """Return the account of sessions with a network that has more work, those with two threads among them."""
    lines, turns, rows = [], [], []
    for plan, here in [*sessions_by_plan(found, "slower"), *sessions_by_plan(found, "threads")]:
        networks, total = networks_of(here), len(here)
        hits = sum(
            n["verdict"] == "SLOWER" and one["validity"] != "INVALID" for n, one in zip(networks, here, strict=True)
        )
        wrong = sum(n["verdict"] in ("FASTER", "EQUIVALENT") for n in networks)
        holds = sum(n["low"] <= 1 / (1 + plan.share) <= n["high"] for n in networks)
        valid = sum(one["validity"] == "VALID" for one in here)
        least = -(-plan.least * total // plan.sessions)
        lines.append(
            [
                plan.name,
                str(total),
                f"{max(one['seconds_cap'] for one in here):.0f}",
                f"{np.median([one['seconds'] for one in here]):.0f}",
                str(hits),
                f"≥ {least}: {yes_no(hits >= least)}" if least else "–",
                str(sum(n["verdict"] == "INCONCLUSIVE" for n in networks)),
                str(wrong),
                f"0: {yes_no(not wrong)}",
                f"{1 / (1 + plan.share):.4f}",
                _written(_interval(np.log([n["speedup"] for n in networks]).tolist())),
                f"{holds} of {total}",
                _states(here),
                f"≥ {VALID:.0%}: {yes_no(valid >= VALID * total)}" if plan.is_quiet else "–",
                f"{100 * np.median([one['resolution'] for one in here]):.1f} %",
            ]
        )
        told = Counter(one["in_turn"]["verdict"] for one in here)
        turns.append(
            [plan.name, str(told["SLOWER"]), str(told["INCONCLUSIVE"]), str(told["FASTER"] + told["EQUIVALENT"])]
        )
        where = f"{plan.share:.0%} more work, {plan.name.split(', ', 1)[1]}"
        rows += [
            page_row(f"called SLOWER: {where}", f"{hits} of {total}", "", f"≥ {least} of {total}", hits >= least)
            if least
            else {"what": f"called SLOWER: {where}", "figure": f"{hits} of {total}"},
            page_row(f"wrong verdicts: {where}", f"{wrong} of {total}", "", f"0 of {total}", wrong == 0),
        ]
        if plan.is_quiet:
            rows.append(page_row(f"VALID sessions: {where}", valid / total, "%", VALID, valid >= VALID * total))
    if not lines:
        return "", []
    heading = ["more work", "sessions", "seconds at most", "seconds, median", "SLOWER", "target", "INCONCLUSIVE"]
    heading += ["wrong", "target", "true speedup", "mean speedup [95 %]", "interval holds the truth"]
    heading += ["VALID / NOISY / INVALID", "VALID, target", "resolution, median"]
    text = (
        "## A network with more work\n\nThe baseline runs a convolution 100 times, the other so many times more that "
        "its work is larger by exactly the share given. The neighbour works in bursts of half a second on average, "
        "half of the time, on one core. SLOWER counts as found where the session is not INVALID; FASTER and EQUIVALENT "
        f"are wrong in any session. Sessions with 3 % may last as long as the first, of {SECONDS} s, asks for: where "
        f"its resolution is above {RESOLUTION:.0%}, the time that brings it to {WANTED:.1%}, at most "
        f"{MOST_SECONDS:.0f} s. A session whose intervals are narrow enough ends earlier by itself."
    )
    other = (
        "The same samples as a plain loop over one network and then the other would have had them: the baseline's of "
        "the first half of a session against the other's of the second, with a 95 % bootstrap interval of the quotient "
        "of medians."
    )
    second = table(["more work", "SLOWER", "INCONCLUSIVE", "wrong"], "-rrr", turns)
    return f"{text}\n\n{table(heading, '-rrrr-rr-rrr--r', lines)}\n\n{other}\n\n{second}", rows


def loaded(found: Pieces) -> tuple[str, Rows]:
    """Return the account of sessions beside busy processes."""
    lines, bad = [], 0
    for plan, here in sessions_by_plan(found, "loaded"):
        for one in here:
            widest = max(math.log(n["high"] / n["low"]) / 2 for n in [*networks_of([one]), *one["controls"]])
            wrong = one["validity"] == "VALID" and widest > math.log1p(one["band"])
            bad += wrong
            said = Counter(n["verdict"] for n in networks_of([one]))
            told = ", ".join(f"{count} {name}" for name, count in sorted(said.items()))
            lines.append(
                [plan.name, str(one["number"]), one["validity"], f"{100 * widest:.1f} %", told, yes_no(not wrong)]
            )
    if not lines:
        return "", []
    text = (
        "## On a loaded machine\n\nCopies as above, beside processes that never rest. A session must not be VALID "
        "where an interval, of a network or a control, reaches farther than the band to either side."
    )
    heading = ["session of", "number", "state", "widest half-width", "verdicts", "not VALID though wide"]
    what = f"VALID with an interval wider than the band, {len(lines)} sessions beside four busy processes"
    return f"{text}\n\n{table(heading, '-r-r--', lines)}", [page_row(what, f"{bad} of {len(lines)}", "", "0", bad == 0)]


def sessions_by_plan(found: Pieces, part: str) -> list[tuple[Plan, list[Mapping[str, Any]]]]:
    """Return the plans of a part with their sessions, those that have any."""
    sessions = [(plan, [one for one in found if one["plan"] == plan.name]) for plan in PLANS if plan.part == part]
    return [(plan, here) for plan, here in sessions if here]


def networks_of(sessions: Pieces) -> list[Mapping[str, Any]]:
    """Return what sessions say of each network beside the baseline."""
    return [network for one in sessions for network in one["networks"].values()]


def yes_no(met: bool) -> str:
    """Return whether a target is met, as the page says it."""
    return "yes" if met else "**no**"


def page_row(what: str, figure: Any, unit: str, target: Any, met: bool, at_least: bool | None = True) -> dict[str, Any]:
    """Return one row for the page of all measurements; a target in words has its direction in it."""
    direction = at_least if isinstance(target, int | float) else None
    return {"what": what, "figure": figure, "unit": unit, "target": target, "at_least": direction, "met": bool(met)}


def _states(sessions: Pieces) -> str:
    counts = Counter(one["validity"] for one in sessions)
    return " / ".join(str(counts[state]) for state in ("VALID", "NOISY", "INVALID"))


def _interval(logs: Sequence[float]) -> tuple[float, float, float]:
    centre, low, high = mean_interval(logs)
    return math.exp(centre), math.exp(low), math.exp(high)


def _written(interval: tuple[float, float, float]) -> str:
    centre, low, high = interval
    return f"{centre:.4f}" + ("" if math.isnan(low) else f" [{low:.4f}, {high:.4f}]")
