"""The tables of a comparison: one wide table in Markdown, and three for a terminal of 100 columns."""

from collections.abc import Callable, Mapping, Sequence

from tabulate import MIN_PADDING, tabulate

from sparsebench.decide.changes import METRIC_DROP
from sparsebench.decide.compare import Row, RunComparison
from sparsebench.decide.metric import Change
from sparsebench.points.drops import ANOTHER_TRAINING, THESE_NETWORKS, limits_text
from sparsebench.points.latency import setting_text
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import DASH, decimal, limits, ratio
from sparsebench.wording.scales import heading, loss_number, value_number
from sparsebench.wording.text import clean, counted, escape, rows_table

COLUMNS = 100
"""The width that the terminal's tables keep."""

Cells = Mapping[str, str]

_SPARED = " before"
"""How columns end that a table does without where it is too wide; what came after and the change tell them."""

_TEXT = {"model", "data", "network", "scheme", "backend", "verdict"}


def wide_table(comparison: RunComparison, each_trial: bool) -> str:
    """Return all of a comparison as a Markdown table."""
    rows = comparison.shown(each_trial)
    names, times, scale = _names(rows, each_trial, escape), _times(rows), comparison.scale
    cells = (
        {**name, **_values(row, scale), **_sizes(row), **time}
        for name, row, time in zip(names, rows, times, strict=True)
    )
    return rows_table(list(cells), _TEXT)


def terminal_tables(comparison: RunComparison, each_trial: bool) -> list[str]:
    """Return accuracy, sizes and latency of each network, tables that fit; what all rows share is said once above."""
    sections: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.shown(each_trial):
        sections.setdefault(row.group.spot[:2], []).append(row)
    parts = []
    for (model, data), rows in sections.items():
        parts += [f"{clean(model)} on {clean(data)}"] if len(sections) > 1 else []
        parts += _section(rows, each_trial, comparison.scale)
    return parts


def _section(rows: Sequence[Row], each_trial: bool, scale: Scale) -> list[str]:
    names, shared = _without_shared(_names(rows, each_trial, clean))
    sizes, times = [_sizes(row) for row in rows], _times(rows)
    parts = [f"All rows: {shared}."] if shared else []
    parts.append(_fitted([{**name, **_values(row, scale)} for name, row in zip(names, rows, strict=True)]))
    if any(text not in ("0.0", DASH) for size in sizes for text in size.values()):
        parts.append(_fitted([{**name, **size} for name, size in zip(names, sizes, strict=True)]))
    else:
        parts.append("Sizes of files: no change.")
    if is_timed(rows):
        at = _first_setting(rows)
        parts += [f"Latency{at}:"] if at else []
        found = [{**name, **time} for name, time in zip(names, times, strict=True)]
        parts.append(_fitted([{key.replace(at, "") if at else key: row[key] for key in row} for row in found]))
    return parts


def is_timed(rows: Sequence[Row]) -> bool:
    """Whether a latency of any row could be compared."""
    return any(change.change is not None for row in rows for change in row.changes["latency_p50"])


def p_text(p: float | None) -> str:
    """Return a p-value; a dash where there is none."""
    return DASH if p is None else "< 0.001" if p < 0.001 else decimal(p, 3)


# -- cells -------------------------------------------------------------------------------------------------------------


def _names(rows: Sequence[Row], each_trial: bool, text: Callable[[str], str]) -> Sequence[Cells]:
    """Return what tells each row from the others."""
    several = len({row.group.spot[:2] for row in rows}) > 1
    calibrated = len({row.group.spot.calibration_batches for row in rows} - {None}) > 1
    found = []
    for row in rows:
        spot, seeds = row.group.spot, row.group.seeds
        found.append(
            {
                **({"model": text(spot.model), "data": text(spot.data)} if several else {}),
                "network": text(row.group.pruning),
                "scheme": text(spot.scheme),
                "backend": text(spot.backend),
                **({"batches": str(spot.calibration_batches or "")} if calibrated else {}),
                **({"seed": str(seeds[0])} if each_trial else {"n": str(len(seeds))}),
            }
        )
    return found


def _values(row: Row, scale: Scale) -> Cells:
    found = row.first(METRIC_DROP)
    is_paired = found is None or found.paired
    unit = scale.loss_unit
    return {
        f"{heading(scale)} before": value_number(scale, found.before if found else None),
        "after": value_number(scale, found.after if found else None),
        f"drop {unit}".rstrip(): loss_number(scale, found.change if found else None, _within(found)),
        f"{THESE_NETWORKS} [95 %]": limits_text(found.these_networks if found else None, is_paired, scale),
        f"{ANOTHER_TRAINING} [95 %]": limits_text(found.another_training if found else None, is_paired, scale),
        "p": p_text(found.p_value if found else None),
    }


def _within(found: Change | None) -> tuple[float, float] | None:
    return (found.these_networks.low, found.these_networks.high) if found and found.these_networks else None


def _sizes(row: Row) -> Cells:
    return {"size %": _signed(row.first("size")), "deflated %": _signed(row.first("deflated_size"))}


def _times(rows: Sequence[Row]) -> Sequence[Cells]:
    """Return the cells on latency, empty where none could be compared."""
    if not is_timed(rows):
        return [{} for _ in rows]
    at, found = _first_setting(rows), []
    for row in rows:
        latency = row.first("latency_p50")
        said = latency.said if latency else "baseline" if row.group.is_dense_fp32 else ""
        found.append(
            {
                f"speedup{at} before": ratio(latency.before if latency else None),
                "after ": ratio(latency.after if latency else None),
                "change % [95 %]": _interval(latency),
                "verdict": said or DASH,
            }
        )
    return found


def _first_setting(rows: Sequence[Row]) -> str:
    """Return at which batch size and number of threads latencies are shown, where there are several."""
    settings = list(dict.fromkeys(c.setting for row in rows for c in row.changes["latency_p50"]))
    return setting_text(settings[0]) if len(settings) > 1 else ""


def _interval(change: Change | None) -> str:
    if change is None or change.change is None or change.low is None or change.high is None:
        return DASH
    return f"{decimal(100.0 * change.change)} {limits(100.0 * change.low, 100.0 * change.high)}"


def _signed(change: Change | None) -> str:
    if change is None or change.change is None:
        return DASH
    text = decimal(100.0 * change.change, 1)
    return text if text.startswith("−") or text == "0.0" else f"+{text}"


# -- fitting a terminal ------------------------------------------------------------------------------------------------


def _without_shared(names: Sequence[Cells]) -> tuple[Sequence[Cells], str]:
    """Return names without the columns that say the same in every row, and those in words."""
    shared = [name for name in names[0] if len(names) > 1 and len({row[name] for row in names}) == 1]
    first = names[0]
    words = [
        counted(int(first[x]), "seed") if x == "n" else f"seed {first[x]}" if x == "seed" else first[x] for x in shared
    ]
    return [{name: row[name] for name in row if name not in shared} for row in names], ", ".join(words)


def _fitted(rows: Sequence[Cells]) -> str:
    """Return a table of at most 100 columns: headings on several lines, without what was before, names wrapped.

    Columns that know nothing, such as those over another training with one seed, are left out.
    """
    known = [name for name in rows[0] if any(row[name] != DASH for row in rows)]
    table = [{name: row[name] for name in known} for row in rows]
    if _width(_widths(table)) > COLUMNS:
        table = [{name: cell for name, cell in row.items() if not name.endswith(_SPARED)} for row in table]
    widths, least = _widths(table), _widths([dict.fromkeys(table[0], "")])
    while _width(widths) > COLUMNS:
        widest = max((name for name in widths if name in _TEXT), key=lambda name: widths[name], default="")
        if widths.get(widest, 0) <= least.get(widest, 0):
            break
        widths[widest] -= 1
    headings = [_heading(name) for name in widths]
    return tabulate(
        [list(row.values()) for row in table],
        headings,
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left" if name in _TEXT else "right" for name in widths],
        maxcolwidths=[width if name in _TEXT else None for name, width in widths.items()],
    )


def _heading(name: str) -> str:
    """Return a heading with each word on a line of its own, but not its unit."""
    return name.strip().replace(" %", "\xa0%").replace(" ", "\n").replace("\xa0", " ")


def _widths(rows: Sequence[Cells]) -> dict[str, int]:
    return {
        name: max(*(len(line) + MIN_PADDING for line in _heading(name).split("\n")), *(len(row[name]) for row in rows))
        for name in rows[0]
    }


def _width(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + 2 * (len(widths) - 1)
