"""Gather what the performance scripts wrote into one page.

python benchmarks/performance_page.py reports/performance
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

INTRODUCTION = (
    "How fast sparsebench itself is: each figure is a ratio against its peer, measured in the same process or in "
    "interleaved processes, or a time with the limit it must keep; and how often its verdicts on latency are right. "
    "`make perf` measures all of them. Intervals are 95 %, bootstrapped over rounds, those on verdicts Student's t "
    "over sessions or processes; a ratio or time without one was measured once. *Not certain*: the interval reaches "
    "past the target."
)
NOT_CERTAIN = ", not certain"
NONE = "–"


def page(folder: Path) -> str:
    """Return the page of all JSON files of a folder that have rows."""
    rows: list[list[str]] = []
    machines: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("rows") if isinstance(content, dict) else None
        if not isinstance(found, list):
            continue
        rows += [cells(row) for row in found]
        machines.setdefault(machine(content.get("environment") or {}), []).append(path.name)
    aimed = [row for row in rows if row[2] != NONE]
    others = [[what, figure, command] for what, figure, wanted, _, command in rows if wanted == NONE]
    told = [f"- {', '.join(links(folder, name) for name in names)}: {where}" for where, names in machines.items()]
    parts = ["# Performance", INTRODUCTION]
    parts += [table(["what", "figure [95 %]", "target", "met", "command"], "-rr--", aimed)] if aimed else []
    if others:
        shown = table(["what", "figure [95 %]", "command"], "-r-", others)
        parts += [f"<details>\n<summary>figures without a target ({len(others)})</summary>", shown, "</details>"]
    return "\n\n".join([*parts, "## Measured on", "\n".join(told)]) + "\n"


def table(heading: list[str], sides: str, rows: list[list[str]]) -> str:
    """Return a table; ``sides`` has an r for each column that is aligned to the right."""
    lines = [heading, ["---:" if side == "r" else "---" for side in sides], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def links(folder: Path, name: str) -> str:
    """Return a link to a file of results, and to the account of them where there is one."""
    account = Path(name).with_suffix(".md").name
    return f"[{name}]({name})" + (f" ([details]({account}))" if (folder / account).is_file() else "")


def cells(row: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    unit, low, high = str(row.get("unit") or ""), row.get("low"), row.get("high")
    interval = "" if low is None or high is None else f" [{number(low, unit)}, {number(high, unit)}]"
    return [
        text(row.get("what", NONE)),
        f"{number(row.get('figure', NONE), unit)}{interval}",
        target(row, unit),
        met(row),
        f"`{text(row['command'])}`" if row.get("command") else NONE,
    ]


def target(row: dict[str, Any], unit: str) -> str:
    """Return the target with its direction, or as the script wrote it."""
    wanted = row.get("target")
    if not isinstance(wanted, int | float):
        return text(wanted) if wanted else NONE
    sign = {True: "≥ ", False: "≤ ", None: ""}[row.get("at_least")]
    shown = wanted * 100 if unit == "%" else wanted
    return f"{sign}{shown:g}{' ' if unit and unit != '×' else ''}{unit}"


def met(row: dict[str, Any]) -> str:
    """Return whether the target is met, and whether the whole interval says so."""
    if row.get("met") is None:
        return NONE
    answer = "yes" if row["met"] else "no"
    wanted, ends = row.get("target"), (row.get("low"), row.get("high"))
    if not isinstance(wanted, int | float) or None in ends or row.get("at_least") is None:
        return answer
    said = {(end >= wanted) if row["at_least"] else (end <= wanted) for end in ends}
    return answer if len(said) == 1 else answer + NOT_CERTAIN


def number(value: float, unit: str) -> str:
    """Return a figure with three significant digits and its unit; shares are kept as fractions and shown in percent."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    shown = value * 100 if unit == "%" else value
    digits = max(0, 2 - math.floor(math.log10(abs(shown)))) if shown else 0
    return f"{shown:,.{min(digits, 6)}f}{' ' if unit and unit != '×' else ''}{unit}"


def machine(environment: dict[str, Any]) -> str:
    """Return one line about the machine and the versions."""
    versions = environment.get("versions") or {}
    parts = [
        environment.get("cpu"),
        f"{environment['logical_cores']} cores" if environment.get("logical_cores") else None,
        environment.get("gpu"),
        environment.get("os"),
        f"Python {environment['python']}" if environment.get("python") else None,
        f"torch {versions['torch']}" if versions.get("torch") else None,
        f"commit {environment['commit']}" if environment.get("commit") else None,
    ]
    return text("; ".join(filter(None, parts)) or "a machine that was not noted") + "."


def text(value: object) -> str:
    """Return text that cannot tear a table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("reports/performance"))
    folder = parser.parse_args().folder
    (folder / "README.md").write_text(page(folder), encoding="utf-8")
    print(f"Performance: {folder / 'README.md'}")


if __name__ == "__main__":
    main()
