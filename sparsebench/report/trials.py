"""Tables of trials: every seed, and what failed, was not offered or has not run yet."""

from collections import defaultdict
from collections.abc import Sequence

from sparsebench.points.drops import drop_text
from sparsebench.points.points import Section
from sparsebench.report.tables import TEXT, who
from sparsebench.store.records import Run, TrialResult, failure_line
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import decimal, significant
from sparsebench.wording.scales import heading, value_number
from sparsebench.wording.text import escape, rows_table, shorten

WAITING = "not run yet"

_NAMES = ("status", "model", "data", "scheme", "backend")


def seeds_table(section: Section) -> str:
    """Return one row a trial that was evaluated, with its own drop and interval."""
    rows = [
        {
            **who(section, point),
            "seed": str(seed.trial.trial.seed),
            heading(section.scale): value_number(section.scale, scored.value),
            _drop_heading(section.scale): "baseline" if point.is_baseline else drop_text(seed.drop),
            "sparsity reached": decimal(trained.sparsity if (trained := seed.trial.trained) else None, 4),
            # The latency in data.csv, where it is of the batch size and number of threads that are shown.
            "latency ms": significant(
                next((t.latency_ms for t in seed.timings[:1] if t.setting == section.setting), None)
            ),
        }
        for point in section.shown
        for seed in point.seeds
        if (scored := seed.trial.evaluated) is not None
    ]
    return rows_table(rows, TEXT)


def _drop_heading(scale: Scale) -> str:
    return f"drop {scale.loss_unit} [95 %]" if scale.loss_unit else "drop [95 %]"


def unfinished_table(run: Run) -> str:
    """Return failed, not offered and pending trials; those that differ only in seed or threshold share a row.

    Empty where every trial is done.
    """
    grouped: defaultdict[tuple[str, ...], list[TrialResult]] = defaultdict(list)
    several = len({trial.trial.calibration_batches for trial in run.trials} - {None}) > 1
    for trial in run.trials:
        if trial.status != "done":
            t, failed = trial.trial, trial.failed_stage
            pruner = "" if trial.status == "not offered" else t.pruner or "dense"
            batches = f", {t.calibration_batches} batches" if several and t.calibration_batches else ""
            reason = t.not_offered or (failure_line(failed) if failed else WAITING)
            grouped[trial.status, t.model, t.data, pruner, f"{t.scheme}{batches}", t.backend, reason].append(trial)
    order = ("failed", "not offered", "pending")
    rows = [
        {
            **dict(zip(_NAMES, map(escape, (status, model, data, scheme, backend)), strict=True)),
            "networks and seeds": _networks(trials),
            "trials": str(len(trials)),
            "reason": escape(shorten(reason)),
        }
        for (status, model, data, _, scheme, backend, reason), trials in sorted(
            grouped.items(), key=lambda item: order.index(item[0][0])
        )
    ]
    return rows_table(rows, {*_NAMES, "networks and seeds", "reason"})


def _networks(trials: Sequence[TrialResult]) -> str:
    """Return which networks a row stands for: ``magnitude 0.5, 0.9: seeds 0, 1``."""
    seeds: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
    for t in (trial.trial for trial in trials):
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
