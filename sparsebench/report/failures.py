"""Trials that did not finish and trials that were not offered: each is listed, with its reason."""

from collections import defaultdict
from collections.abc import Sequence

from sparsebench.store.run import Run, TrialResult, failure_line
from sparsebench.wording.tables import markdown_table
from sparsebench.wording.text import escape, shorten

WAITING = "not run yet"


def unfinished_table(run: Run) -> str:
    """Return failed, not offered and pending trials; those that differ only in seed or threshold share a row.

    Empty where every trial is done.
    """
    grouped: defaultdict[tuple[str, ...], list[TrialResult]] = defaultdict(list)
    several = len({trial.trial.calibration_batches for trial in run.trials} - {None}) > 1
    for trial in run.trials:
        if trial.status != "done":
            t = trial.trial
            pruner = "" if trial.status == "not offered" else t.pruner or "dense"
            batches = f", {t.calibration_batches} batches" if several and t.calibration_batches else ""
            scheme = f"{t.scheme}{batches}"
            grouped[trial.status, t.model, t.data, pruner, scheme, t.backend, _reason(trial)].append(trial)
    if not grouped:
        return ""
    order = ("failed", "not offered", "pending")
    rows = []
    for (status, model, data, _, scheme, backend, reason), trials in sorted(
        grouped.items(), key=lambda item: order.index(item[0][0])
    ):
        names = [escape(name) for name in (status, model, data, scheme, backend)]
        rows.append([*names, _networks(trials), str(len(trials)), escape(shorten(reason))])
    headings = ["status", "model", "data", "scheme", "backend", "networks and seeds", "trials", "reason"]
    return markdown_table(headings, rows, [False] * 6 + [True, False])


def _reason(trial: TrialResult) -> str:
    if trial.trial.not_offered:
        return trial.trial.not_offered
    failed = trial.failed_stage
    return failure_line(failed) if failed else WAITING


def _networks(trials: Sequence[TrialResult]) -> str:
    """Return which networks a row stands for: ``magnitude 0.5, 0.9: seeds 0, 1``."""
    seeds: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
    for trial in trials:
        t = trial.trial
        seeds[t.pruner or "dense", t.threshold].append(t.seed)
    same: defaultdict[tuple[str, tuple[int, ...]], list[float]] = defaultdict(list)
    for (pruner, threshold), found in seeds.items():
        same[pruner, tuple(found)].append(threshold)
    texts = []
    for (pruner, found_seeds), thresholds in same.items():
        amounts = "" if thresholds == [0.0] else f" {', '.join(f'{value:g}' for value in thresholds)}"
        plural = "seed" if len(found_seeds) == 1 else "seeds"
        texts.append(f"{escape(pruner)}{amounts}: {plural} {', '.join(map(str, found_seeds))}")
    return "; ".join(texts)
