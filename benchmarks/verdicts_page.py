"""The page on verdicts: what was tried, sessions whose truth is known, and how long verdicts take."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import verdicts_causes_page
import verdicts_simulated_page as simulated
from performance_page import table
from verdicts_known_page import (
    SECONDS,
    Pieces,
    Rows,
    copies,
    loaded,
    networks_of,
    page_row,
    slower,
    yes_no,
)

COMMAND = "python benchmarks/perf_verdicts.py"


def page(pieces: Mapping[str, Pieces], environment: Any) -> tuple[str, Rows]:
    """Return the page, and its rows for the page of all measurements."""
    sections = [
        (simulated.section(pieces["simulated"]), simulated.page_rows(pieces["simulated"])),
        copies(pieces["copies"]),
        slower([*pieces["slower"], *pieces["threads"]]),
        loaded(pieces["loaded"]),
        verdicts_causes_page.section(pieces["causes"]),
        twenty(pieces["twenty"]),
    ]
    parts = [
        "# Verdicts on latency",
        "Whether speedups, their intervals and the verdicts read off them are right: in simulated sessions, and in "
        "sessions on this machine with networks whose speedups are known. What is tried was settled before: every "
        "session is carried out once and stands here, whatever it said, and none is left out or repeated. Targets "
        "stand beside the figures. A speedup is the baseline's latency divided by that of the network: above 1 is "
        "faster.",
        *(text for text, _ in sections),
        every_session([*pieces["copies"], *pieces["slower"], *pieces["threads"], *pieces["loaded"]]),
        f"Machine: {environment.machine}. Python {environment.python}, torch {environment.versions['torch']}, "
        f"sparsebench {environment.versions.get('sparsebench', 'from source')}; commit {environment.commit}.",
    ]
    rows = [row | {"command": COMMAND} for _, found in sections for row in found]
    return "\n\n".join(part for part in parts if part), rows


def twenty(found: Pieces) -> tuple[str, Rows]:
    """Return how long verdicts on the default sweep take."""
    lines, rows = [], []
    for one in found:
        said = ", ".join(f"{count} {name}" for name, count in sorted(one["verdicts"].items()))
        met = one["seconds"] <= SECONDS
        lines.append(
            [
                str(one["batch_size"]),
                str(one["networks"]),
                f"{one['seconds']:.0f}",
                f"≤ {SECONDS}: {yes_no(met)}",
                str(one["processes"]),
                str(one["rounds"]),
                one["stopped"],
                one["validity"],
                said,
                f"{100 * np.median(one['half_widths']):.1f} %",
            ]
        )
        what = f"verdicts on the {one['networks']} networks of the default sweep, batch {one['batch_size']}"
        rows.append(page_row(what, one["seconds"], "s", SECONDS, met, at_least=False))
    if not lines:
        return "", []
    text = (
        "## How long verdicts on the default sweep take\n\nThe networks of its first seed, all schemes and thresholds, "
        "timed together without a neighbour."
    )
    heading = ["batch", "networks", "seconds", "target", "processes", "rounds", "stopped", "state", "verdicts"]
    return f"{text}\n\n{table([*heading, 'half-width, median'], 'rrr-rr---r', lines)}", rows


def every_session(found: Pieces) -> str:
    """Return one line for each session that was carried out."""
    lines = []
    for one in found:
        said = Counter(n["verdict"] for n in networks_of([one]))
        conditions = one["conditions"]
        speedups = [n["speedup"] for n in networks_of([one])]
        lines.append(
            [one["plan"], str(one["number"]), f"{one['seconds']:.0f} of {one['seconds_cap']:.0f}", one["stopped"]]
            + [str(one["processes"]), str(one["rounds"]), one["validity"], f"{100 * one['resolution']:.1f}"]
            + [f"{math.exp(float(np.mean(np.log(speedups)))):.4f}"]
            + [", ".join(f"{count} {name}" for name, count in sorted(said.items()))]
            + [
                "–" if (value := conditions.get(name)) is None else f"{value:.2f}"
                for name in ("foreign_cores", "steal_share")
            ]
        )
    heading = [
        "sessions",
        "number",
        "seconds",
        "stopped",
        "processes",
        "rounds",
        "state",
        "resolution, %",
        "mean speedup",
    ]
    shown = table([*heading, "verdicts", "cores busy with other work", "steal, worst round"], "-rr-rr-rr-rr", lines)
    return f"<details>\n<summary>every session ({len(lines)})</summary>\n\n{shown}\n\n</details>" if lines else ""
