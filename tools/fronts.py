"""The front of a committed report, for README.md and docs/: numbers that were measured are never copied by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sparsebench.report.excerpt import unbeaten
from sparsebench.store.scales import ACCURACY
from sparsebench.wording.numbers import DASH, decimal, kilobytes, limits, percent, significant
from sparsebench.wording.text import counted, markdown_table

MOST_ROWS = 8
"""Networks in a table of the front, the baselines included."""


def front(root: Path, words: Sequence[str]) -> str:
    """Return the front of a report: ``front reports/NAME``.

    No other network beats those on it in both accuracy and size, or in both accuracy and latency at the first batch
    size and number of threads. Of more than fit, those that lose least are kept. Dense fp32 stands last, once for each
    backend that is shown.

    Raises:
        ValueError: where the report was written by a version that did not yet compute what the table shows.
    """
    data = _data(root / words[0])
    points = [
        SimpleNamespace(value=SimpleNamespace(**row["top1"]), scale=ACCURACY, row=row)
        for row in data["points"]
        if row["top1"]
    ]
    found = [point.row for cost in (_deflated, _latency_ms) for point in unbeaten(points, cost)]
    by_label = {_label(row, with_backend=True): row for row in found if not _is_baseline(row)}
    baselines = [point.row for point in points if _is_baseline(point.row)]
    beside = {row["backend"] for row in by_label.values()} | {point.row["backend"] for point in points[:1]}
    baselines = [row for row in baselines if row["backend"] in beside]
    kept = sorted(by_label.values(), key=lambda row: -row["top1"]["mean"])[: MOST_ROWS - len(baselines)]
    kept.sort(key=lambda row: row["deflated_file_bytes"])
    several = len({point.row["backend"] for point in points}) > 1
    rows = [_cells(row, several) for row in (*kept, *baselines)]
    numbers = [name != "network" for name in _HEADING]
    return f"{markdown_table(_HEADING, rows, numbers)}\n\n{_made_on(data, kept[0], several)}"


def hero(root: Path, words: Sequence[str]) -> str:
    """Return what a page opens with, ``hero reports/NAME``: a report's front, a link to it and its first figure."""
    data, folder = _data(root / words[0]), words[0]
    what = f"{data['points'][0]['model']} on {data['points'][0]['data']}"
    return (
        f"The front of [its report on {what}]({folder}/README.md): no other network is better in both accuracy and "
        f"size, or in both accuracy and latency.\n\n{front(root, words)}\n\n"
        f"![Top-1 accuracy against file size of {what}]({folder}/figures/pareto-size.svg)"
    )


_HEADING = ("network", "top-1 %", "loss, points [95 %]", "deflated kB", "ms", "speedup [95 %]")
"""As many columns as GitHub shows without a scroll bar."""


def _data(report: Path) -> dict[str, Any]:
    """Return the data.json of a report, if it has all that a table shows."""
    data: dict[str, Any] = json.loads((report / "data.json").read_text(encoding="utf-8"))
    timed = [timing for row in data["points"] for timing in row["latency"]]
    drops = [row["drop"] for row in data["points"] if row["drop"]]
    if not all("latency_ms" in one for one in timed) or not all("these_networks" in one for one in drops):
        raise ValueError(
            f"{report / 'data.json'} was written by an earlier version, whose intervals mean something else. "
            "Run the sweep again, or take another report."
        )
    return data


def _is_baseline(row: Mapping[str, Any]) -> bool:
    return bool(row["pruner"] == "dense" and row["scheme"] == "fp32")


def _label(row: Mapping[str, Any], with_backend: bool) -> str:
    pruning = "dense" if row["pruner"] == "dense" else f"{row['pruner']} {row['threshold']:g}"
    return " · ".join([pruning, row["scheme"], *([row["backend"]] if with_backend else [])])


def _deflated(point: Any) -> float | None:
    return cast("float | None", point.row["deflated_file_bytes"])


def _latency_ms(point: Any) -> float | None:
    return next((timing["latency_ms"]["mean"] for timing in point.row["latency"]), None)


def _cells(row: Mapping[str, Any], with_backend: bool) -> list[str]:
    latency = next(iter(row["latency"]), None)
    cells = [
        _label(row, with_backend),
        percent(row["top1"]["mean"]),
        "baseline" if _is_baseline(row) else _loss(row["drop"]),
        kilobytes(row["deflated_file_bytes"]),
        significant(latency["latency_ms"]["mean"]) if latency else DASH,
        _speedup(latency["own"]) if latency else DASH,
    ]
    return [cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in cells]


def _speedup(own: Mapping[str, Any]) -> str:
    """Return a speedup over dense fp32 on the same backend, in bold where it is FASTER, as reports have it."""
    if own["verdict"] in ("BASELINE", "INVALID"):
        return str(own["verdict"].replace("BASELINE", "baseline"))
    shown = f"{decimal(own['speedup'])}× {limits(own['low'], own['high'])}"
    return f"**{shown}**" if own["verdict"] == "FASTER" else shown


def _loss(drop: Mapping[str, Any] | None) -> str:
    """Return what is lost with the interval that decides: over another training where there are several seeds."""
    if not drop:
        return DASH
    judged = drop["another_training"] or drop["these_networks"]
    return f"{decimal(drop['pp'])} {limits(judged['low_pp'], judged['high_pp'])}"


def _made_on(data: Mapping[str, Any], row: Mapping[str, Any], several: bool) -> str:
    environment, versions = data["run"]["environment"], data["run"]["environment"]["versions"]
    timing = next(iter(row["latency"]), None)
    where = "" if several else f" on {row['backend']}"
    timed = f"; batch {timing['batch_size']}, {counted(timing['threads'], 'thread')}" if timing else ""
    bold = " Bold: FASTER than dense fp32 on the same runtime." if timing else ""
    return (
        f"*{row['model']} on {row['data']}{where}, {counted(len(data['run']['seeds']), 'seed')}{timed}; "
        f"{environment['cpu']}, {counted(environment['logical_cores'], 'core')}; torch {versions['torch']}.{bold}*"
    )
