"""A comparison of two runs as text for a terminal, as Markdown, and as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import fill
from typing import Any

from sparsebench.decide.changes import METRIC_DROP, drop_name
from sparsebench.decide.changes_table import COLUMNS, is_timed, p_text, terminal_tables, wide_table
from sparsebench.decide.compare import Row, RunComparison
from sparsebench.decide.gates import Verdicts, amount_text
from sparsebench.decide.metric import Change
from sparsebench.points.drops import ANOTHER_TRAINING, THESE_NETWORKS, UNPAIRED
from sparsebench.points.rows import finite
from sparsebench.store.records import TrialResult, failure_line
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.numbers import decimal
from sparsebench.wording.scales import loss_number, with_unit
from sparsebench.wording.text import clean, counted, escape, folded, shorten

MOST_NAMED = 10
"""Trials of only one run, or rows beyond a gate, that are named; JSON has all."""

MOST_TRIAL_ROWS = 600
"""Trials up to which Markdown lists every one."""

RUNS = (
    f"n: seeds that both runs have. Both intervals are 95 %. {THESE_NETWORKS}: over other test samples, for the "
    "networks of these runs. "
)
SEVERAL_SEEDS = (
    f"{ANOTHER_TRAINING}: over other test samples and other trainings, so it also holds if you train again. p "
    "belongs to it, and gates use it."
)
ONE_SEED = (
    f"p belongs to it, and gates use it. One seed says nothing about {ANOTHER_TRAINING}: for that, run both with two "
    "seeds or more."
)
UNPAIRED_NOTE = f"{UNPAIRED} not paired: samples could not be compared one by one, so the interval is wider."
LATENCY = (
    "speedup: the runs were not timed together, so their milliseconds cannot be compared. Compared is each network's "
    "speedup over dense fp32, which was timed beside it; change below 0: the network became slower. The 95 % intervals "
    "(Welch's t over worker processes) and the verdicts hold for all rows together. What slows dense fp32 as well does "
    "not show."
)
HOLM = (
    "p is that of its own row. Gates use p adjusted over all rows that changed (Holm), so that chance alone breaks a "
    "gate in at most 5 of 100 comparisons."
)


def table_text(comparison: RunComparison, verdicts: Sequence[Verdicts], each_trial: bool) -> str:
    """Return a comparison for a terminal of 100 columns; of runs that do not differ, one line."""
    title = f"{clean(comparison.before)} → {clean(comparison.after)}"
    notes = "\n".join(f"- {note}" for note in _notes(comparison))
    if comparison.unchanged:
        parts = [f"{title}: {_nothing(comparison)}", notes]
    else:
        parts = [title, *terminal_tables(comparison, each_trial), _wrapped(_key(comparison, each_trial)), notes]
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
    if comparison.unchanged:
        return "\n\n".join(filter(None, [*parts, f"{_nothing(comparison).capitalize()}"]))
    parts.append(wide_table(comparison, each_trial))
    if not each_trial and len(comparison.trials) <= MOST_TRIAL_ROWS:
        heading = f"Every trial ({counted(len(comparison.trials), 'trial')})"
        parts.append(folded(heading, wide_table(comparison, True)))
    return "\n\n".join(filter(None, [*parts, _key(comparison, each_trial)]))


def _wrapped(text: str) -> str:
    return "\n\n".join(fill(paragraph, COLUMNS) for paragraph in text.split("\n\n"))


def _nothing(comparison: RunComparison) -> str:
    return f"nothing changed in {counted(len(comparison.rows), 'point')} ({counted(len(comparison.trials), 'trial')})."


def json_text(comparison: RunComparison, verdicts: Sequence[Verdicts]) -> str:
    """Return a comparison as JSON: rows by operating point and by trial, gates, and what could not be compared."""
    content = {
        "before": comparison.before,
        "after": comparison.after,
        "unchanged": comparison.unchanged,
        "points": [_row(row) for row in comparison.rows],
        "trials": [_row(row) for row in comparison.trials],
        "gates": [
            {
                "gate": found.gate.text,
                "state": found.state,
                "judged_over": found.over,
                f"finds{comparison.scale.suffix}": found.finds,
                "rows": [
                    {"row": one.where, "state": one.state, "beyond": one.excess, **change_row(one.change)}
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
    changes = {name: [change_row(change) for change in found] for name, found in row.changes.items()}
    drop = changes.pop(METRIC_DROP)
    scale = next((change.scale for change in row.changes[METRIC_DROP]), ACCURACY)
    return {**row.group.spot._asdict(), "seeds": row.group.seeds, drop_name(scale): drop, **changes}


def change_row(change: Change) -> dict[str, Any]:
    """Return a change as plain values; intervals of percentage points are named as such."""
    told = {name: value for name, value in vars(change).items() if name != "scale"}
    for name in ("these_networks", "another_training"):
        told[name] = told[name] and told[name].row(change.scale)
    return told if change.scale.is_accuracy else {**told, "metric": asdict(change.scale)}


def _key(comparison: RunComparison, each_trial: bool) -> str:
    changes = [c for row in comparison.shown(each_trial) for c in row.changes[METRIC_DROP]]
    several = any(change.another_training for change in changes)
    unpaired = [UNPAIRED_NOTE] if any(not change.paired for change in changes) else []
    latency = [LATENCY] if is_timed(comparison.rows) else []
    return "\n\n".join(
        [_drop_in_words(comparison.scale) + RUNS + (SEVERAL_SEEDS if several else ONE_SEED), *unpaired, *latency, HOLM]
    )


def _drop_in_words(scale: Scale) -> str:
    """Return which way a drop is, and in what unit."""
    unit = "percentage points" if scale.share else scale.unit
    counted_in = f", in {unit}" if unit else ""
    if scale.higher_is_better:
        return f"drop: {scale.short} of the first run − that of the second{counted_in}; above 0 is a loss. "
    return f"drop: {scale.short} of the second run − that of the first{counted_in}; above 0 is a loss. "


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


_STATES = {"kept": "kept", "broken": "broken", "open": "not settled"}

_MARKS = {"kept": "ok  ", "broken": "FAIL", "open": "OPEN"}


def _gate(found: Verdicts) -> Iterator[str]:
    """Yield what is said of a gate: its state, and a line for each row that is beyond it or cannot be told."""
    if not found.rows:
        yield f"{found.gate.text}: {_STATES[found.state]}, for no latency was timed in both runs"
        return
    judged = sum(row.change.change is not None for row in found.rows)
    yield f"{found.gate.text}: {_STATES[found.state]}; {counted(judged, 'row')} judged{_power(found)}"
    shown = [row for row in found.rows if row.excess or row.state == "open"]
    shown.sort(key=lambda row: ("broken", "open", "kept").index(row.state))
    for row in shown[:MOST_NAMED]:
        if row.change.change is None:
            yield f"{row.where}: {clean(row.change.open)}"
            continue
        p = f", p {p_text(row.change.p_adjusted)} over all rows" if row.change.p_adjusted is not None else ""
        doubt = "" if row.state == "broken" else "; beyond the limit, but not proven"
        yield f"{row.where}: {amount_text(found.gate, row.change)}{p}{doubt}"
    if len(shown) > MOST_NAMED:
        yield f"and {len(shown) - MOST_NAMED} more"


def _power(found: Verdicts) -> str:
    """Return by which interval the rows of a gate on accuracy were judged, and how small a loss it could have found."""
    text = f" by the interval over {ANOTHER_TRAINING}" if ANOTHER_TRAINING in found.over else ""
    if THESE_NETWORKS in found.over:
        rows = "" if found.over == (THESE_NETWORKS,) else " and some"
        text += f"{rows} for {THESE_NETWORKS} only, since one seed says nothing about {ANOTHER_TRAINING}"
    if found.finds is None:
        return text
    scale = next((row.change.scale for row in found.rows), ACCURACY)
    best, worst = (decimal(limit, 1) if scale.share else loss_number(scale, limit) for limit in found.finds)
    limits = best if best == worst else f"{best} to {worst}"
    return f"{text}; at these seeds and samples it finds drops above {with_unit(scale, limits)}"
