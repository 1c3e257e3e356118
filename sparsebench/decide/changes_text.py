"""A comparison of two runs as a table for a terminal, as Markdown, and as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from sparsebench.decide.compare import Row, RunComparison
from sparsebench.decide.gates import Verdicts, amount_text
from sparsebench.decide.metric import Change
from sparsebench.points.drops import UNPAIRED
from sparsebench.points.latency import setting_text
from sparsebench.points.rows import finite
from sparsebench.statistics.verdicts import LEVEL
from sparsebench.store.records import TrialResult, failure_line
from sparsebench.wording.numbers import DASH, decimal, limits, percent, ratio
from sparsebench.wording.text import clean, counted, escape, folded, markdown_table, shorten

MOST_NAMED = 10
"""Trials of only one run, or rows beyond a gate, that are named; JSON has all."""

MOST_TRIAL_ROWS = 600
"""Trials up to which Markdown lists every one."""

ACCURACY = (
    "drop: top-1 of the first run − that of the second, in percentage points; positive is a loss. Newcombe's paired "
    "95 % interval over test samples, limits averaged over seeds; p: exact sign-flip test over test samples (McNemar's "
    "exact test for one seed). n: seeds that both runs have."
)
UNPAIRED_NOTE = f"{UNPAIRED} unpaired: Newcombe's interval of two independent samples."
LATENCY = (
    "speedup: the two runs were not timed together, so latencies of one cannot be set against those of the other. What "
    "is compared is each network's speedup over dense fp32, which was timed in the same rounds: speedup of the second "
    "run / speedup of the first − 1, below 0 where the network became slower. The 95 % intervals (Welch's t over "
    "worker processes) hold for all rows together (Bonferroni), and verdicts are read off them: FASTER or SLOWER than "
    "before. What slows everything alike, dense fp32 included, does not show in it."
)
HOLM = (
    f"p is adjusted by Holm over all rows of a metric: with {percent(LEVEL, 0)} % as its bound, not one of them is "
    "called changed by chance in 95 of 100 comparisons."
)


def table_text(comparison: RunComparison, verdicts: Sequence[Verdicts], each_trial: bool) -> str:
    """Return a comparison for a terminal."""
    headings, rows = _table(comparison, each_trial, clean)
    align = ["left" if heading in _TEXT else "right" for heading in headings]
    table = tabulate(rows, headings, tablefmt="simple", disable_numparse=True, colalign=align)
    parts = [f"{clean(comparison.before)} → {clean(comparison.after)}", table, _key(comparison)]
    parts.append("\n".join(f"- {note}" for note in _notes(comparison)))
    for found in verdicts:
        head, *lines = _gate(found)
        parts.append("\n".join([f"{_MARKS[found.state]} {head}", *(f"     {line}" for line in lines)]))
    return "\n\n".join(filter(None, parts))


def markdown_text(comparison: RunComparison, verdicts: Sequence[Verdicts], each_trial: bool) -> str:
    """Return a comparison as Markdown, for a summary of a workflow or a comment: gates first."""
    parts = [f"# {escape(comparison.before)} → {escape(comparison.after)}"]
    for found in verdicts:
        head, *lines = _gate(found)
        mark = "✓" if found.state == "kept" else "✗"
        parts.append("\n".join([f"- {mark} {escape(head)}", *(f"  - {escape(line)}" for line in lines)]))
    parts.append("\n".join(f"- {escape(note)}" for note in _notes(comparison)))
    parts.append(_markdown_table(comparison, each_trial))
    if not each_trial and len(comparison.trials) <= MOST_TRIAL_ROWS:
        heading = f"Every trial ({counted(len(comparison.trials), 'trial')})"
        parts.append(folded(heading, _markdown_table(comparison, True)))
    return "\n\n".join(filter(None, [*parts, _key(comparison)]))


def json_text(comparison: RunComparison, verdicts: Sequence[Verdicts]) -> str:
    """Return a comparison as JSON: rows by operating point and by trial, gates, and what could not be compared."""
    content = {
        "before": comparison.before,
        "after": comparison.after,
        "points": [_row(row) for row in comparison.rows],
        "trials": [_row(row) for row in comparison.trials],
        "gates": [
            {
                "gate": found.gate.text,
                "state": found.state,
                "rows": [
                    {"row": one.where, "state": one.state, "beyond": one.excess, **asdict(one.change)}
                    for one in found.rows
                ],
            }
            for found in verdicts
        ],
        "only_before": [trial.trial.label for trial in comparison.only_before],
        "only_after": [trial.trial.label for trial in comparison.only_after],
        "lost": [
            {"trial": trial.trial.label, "status": trial.status, "reason": _why(trial)} for trial in comparison.lost
        ],
        "notes": comparison.notes,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, default=str)


def _row(row: Row) -> dict[str, Any]:
    changes = {name: [asdict(change) for change in found] for name, found in row.changes.items()}
    return {**row.group.spot._asdict(), "seeds": row.group.seeds, **changes}


# -- tables ------------------------------------------------------------------------------------------------------------

_TEXT = {"model", "data", "network", "scheme", "backend", "verdict"}


def _table(
    comparison: RunComparison, each_trial: bool, text: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows; columns that would be empty or say the same in every row are left out."""
    rows = comparison.trials if each_trial else comparison.rows
    several = len({row.group.spot[:2] for row in rows}) > 1
    calibrated = len({row.group.spot.calibration_batches for row in rows} - {None}) > 1
    timed = _is_timed(rows)
    settings = list(dict.fromkeys(c.setting for row in rows for c in row.changes["latency_p50"]))
    at = setting_text(settings[0]) if len(settings) > 1 else ""

    def cells(row: Row) -> dict[str, str]:
        spot, seeds = row.group.spot, row.group.seeds
        accuracy, latency = row.first("accuracy_drop"), row.first("latency_p50")
        said = latency.said if latency else "baseline" if row.group.is_dense_fp32 else ""
        network = {"model": text(spot.model), "data": text(spot.data)} if several else {}
        network |= {"network": text(row.group.pruning), "scheme": text(spot.scheme), "backend": text(spot.backend)}
        network |= {"batches": str(spot.calibration_batches or "")} if calibrated else {}
        times = {
            f"speedup{at} before": ratio(latency.before if latency else None),
            "after ": ratio(latency.after if latency else None),
            "change % [95 %]": _interval(latency, 100.0),
            "verdict": said or DASH,
        }
        return {
            **network,
            **({"seed": str(seeds[0])} if each_trial else {"n": str(len(seeds))}),
            "top-1 % before": percent(accuracy.before if accuracy else None),
            "after": percent(accuracy.after if accuracy else None),
            "drop pp [95 %]": _interval(accuracy, 1.0),
            "p": _p(accuracy),
            "size %": _signed(row.first("size")),
            "deflated %": _signed(row.first("deflated_size")),
            **(times if timed else {}),
        }

    found = [cells(row) for row in rows]
    return list(found[0]), [list(row.values()) for row in found]


def _is_timed(rows: Sequence[Row]) -> bool:
    return any(change.change is not None for row in rows for change in row.changes["latency_p50"])


def _markdown_table(comparison: RunComparison, each_trial: bool) -> str:
    headings, rows = _table(comparison, each_trial, escape)
    return markdown_table(headings, rows, [heading not in _TEXT for heading in headings])


def _interval(change: Change | None, scale: float) -> str:
    if change is None or change.change is None or change.low is None or change.high is None:
        return DASH
    mark = UNPAIRED if change.setting is None and not change.paired else ""
    return f"{decimal(scale * change.change)} {limits(scale * change.low, scale * change.high)}{mark}"


def _p(change: Change | None) -> str:
    p = change.p_adjusted if change else None
    return DASH if p is None else "< 0.001" if p < 0.001 else decimal(p, 3)


def _signed(change: Change | None) -> str:
    if change is None or change.change is None:
        return DASH
    text = decimal(100.0 * change.change, 1)
    return text if text.startswith("−") or text == "0.0" else f"+{text}"


def _key(comparison: RunComparison) -> str:
    unpaired = any(not change.paired for row in comparison.rows for change in row.changes["accuracy_drop"])
    latency = [LATENCY] if _is_timed(comparison.rows) else []
    return "\n\n".join([ACCURACY, *([UNPAIRED_NOTE] if unpaired else []), *latency, HOLM])


# -- what could not be compared, and gates -----------------------------------------------------------------------------


def _notes(comparison: RunComparison) -> Iterator[str]:
    yield from comparison.notes
    for trials, name in ((comparison.only_before, comparison.before), (comparison.only_after, comparison.after)):
        if trials:
            labels = "; ".join(clean(trial.trial.label) for trial in trials[:MOST_NAMED])
            more = f" and {len(trials) - MOST_NAMED} more" if len(trials) > MOST_NAMED else ""
            yield f"Only in {clean(name)}: {counted(len(trials), 'trial')}: {labels}{more}."
    for trial in comparison.lost[:MOST_NAMED]:
        yield f"Done in {clean(comparison.before)} and {trial.status} in {clean(comparison.after)}: {_why(trial)}"
    if len(comparison.lost) > MOST_NAMED:
        yield f"And {len(comparison.lost) - MOST_NAMED} more that were done before and are not now."


def _why(trial: TrialResult) -> str:
    failed = trial.failed_stage
    reason = trial.trial.not_offered or (failure_line(failed) if failed else "it has not been run")
    return f"{clean(trial.trial.label)}: {shorten(reason)}"


_STATES = {"kept": "kept", "broken": "broken", "open": "cannot be told"}

_MARKS = {"kept": "ok  ", "broken": "FAIL", "open": "OPEN"}


def _gate(found: Verdicts) -> Iterator[str]:
    """Yield what is said of a gate: its state, and a line for each row that is beyond it or cannot be told."""
    if not found.rows:
        yield f"{found.gate.text}: {_STATES[found.state]}, for no latency was timed in both runs"
        return
    judged = sum(row.change.change is not None for row in found.rows)
    yield f"{found.gate.text}: {_STATES[found.state]}; {counted(judged, 'row')} judged"
    shown = [row for row in found.rows if row.excess or row.state == "open"]
    shown.sort(key=lambda row: ("broken", "open", "kept").index(row.state))
    for row in shown[:MOST_NAMED]:
        if row.change.change is None:
            yield f"{row.where}: {clean(row.change.open)}"
            continue
        p = f", p {_p(row.change)}" if row.change.p_adjusted is not None else ""
        doubt = "" if row.state == "broken" else "; beyond the limit, but not proven"
        yield f"{row.where}: {amount_text(found.gate, row.change)}{p}{doubt}"
    if len(shown) > MOST_NAMED:
        yield f"and {len(shown) - MOST_NAMED} more"
