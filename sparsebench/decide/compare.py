"""Two runs compared, trial by trial: what changed, by how much, and whether that may be chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sparsebench.decide.changes import METRIC_DROP, METRICS, every_change
from sparsebench.decide.matching import Group, differing, made_with, match
from sparsebench.decide.metric import Change
from sparsebench.errors import SparsebenchError
from sparsebench.points.latency import setting_text
from sparsebench.store.records import Run, TrialResult
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.text import clean, counted, first_of, flat, listing, shorten

ALSO_NAMED = 8
"""How many names a note spells out."""

DEFAULT_BAND = 0.01
"""Relative differences of speedups that do not matter, where no session says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a comparison: the seeds of an operating point, or one of them, and how each metric changed."""

    label: str
    group: Group
    changes: Mapping[str, tuple[Change, ...]]

    @property
    def is_accuracy(self) -> bool:
        """Whether the metric that was compared is accuracy, or there is none."""
        return all(change.scale.is_accuracy for change in self.changes[METRIC_DROP])

    def first(self, metric: str) -> Change | None:
        """Return how a metric changed, at the first batch size and number of threads; None where it is not known."""
        return next(iter(self.changes[metric]), None)


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two runs compared.

    Attributes:
        before: name of the first run.
        after: name of the second.
        rows: one for each operating point that both runs have, seeds joined.
        trials: one for each trial that both have.
        only_before: trials that only the first run has.
        only_after: trials that only the second has.
        lost: trials that were done in the first run and are not in the second.
        notes: what else differs, sentences.
    """

    before: str
    after: str
    rows: tuple[Row, ...]
    trials: tuple[Row, ...]
    only_before: tuple[TrialResult, ...]
    only_after: tuple[TrialResult, ...]
    lost: tuple[TrialResult, ...]
    notes: tuple[str, ...]

    def shown(self, each_trial: bool) -> tuple[Row, ...]:
        """Return the rows by trial, or by operating point."""
        return self.trials if each_trial else self.rows

    @property
    def scale(self) -> Scale:
        """Of the metric that was compared; accuracy where none was."""
        found = (change for row in self.trials for change in row.changes[METRIC_DROP])
        return next((change.scale for change in found), ACCURACY)

    @property
    def unchanged(self) -> bool:
        """Whether the runs have the same trials, and not one result of them differs."""
        changes = (c for row in self.trials for name in METRICS if not METRICS[name].timed for c in row.changes[name])
        pairs = (pair for row in self.trials for pair in row.group.pairs)
        missing = self.only_before or self.only_after or self.lost
        return not missing and all(c.same for c in changes) and all(pair.same_timing for pair in pairs)


def compare_runs(before: Run, after: Run) -> RunComparison:
    """Compare the trials that two runs share.

    Raises:
        SparsebenchError: where they share none.
    """
    groups, only_before, only_after = match(before, after)
    if not groups:
        raise SparsebenchError(
            f"The runs {before.record.name} ({counted(len(before.trials), 'trial')}) and {after.record.name} "
            f"({counted(len(after.trials), 'trial')}) have no trial in common. Trials are matched by model, data, "
            "pruner, threshold, seed, scheme, backend and calibration batches; run both from configs that share some."
        )
    pairs = [pair for group in groups for pair in group.pairs]
    band = max(
        (m.session.band for pair in pairs for t in (pair.before, pair.after) for m in t.measured), default=DEFAULT_BAND
    )
    rows = _rows(groups, band)
    return RunComparison(
        before=before.record.name,
        after=after.record.name,
        rows=rows,
        trials=_rows([replace(group, pairs=(pair,)) for group in groups for pair in group.pairs], band),
        only_before=only_before,
        only_after=only_after,
        lost=tuple(pair.after for pair in pairs if pair.lost),
        notes=tuple(_notes(before, after, rows)),
    )


def _rows(groups: Sequence[Group], band: float) -> tuple[Row, ...]:
    changes = {name: every_change(groups, metric, band) for name, metric in METRICS.items()}
    networks = len({group.spot[:2] for group in groups}) > 1
    calibrated = len({group.spot.calibration_batches for group in groups} - {None}) > 1
    return tuple(
        Row(
            label=_label(group, networks, calibrated),
            group=group,
            changes={name: found[place] for name, found in changes.items()},
        )
        for place, group in enumerate(groups)
    )


def _label(group: Group, networks: bool, calibrated: bool) -> str:
    """Return a group in short; what all share is left out."""
    spot = group.spot
    parts = [spot.model, spot.data] if networks else []
    parts += [group.pruning, spot.scheme, spot.backend]
    parts += [f"{spot.calibration_batches} calibration batches"] if calibrated and spot.calibration_batches else []
    parts += [f"seed {group.seeds[0]}"] if len(group.seeds) == 1 else []
    return clean(" · ".join(parts))


def _notes(before: Run, after: Run, rows: tuple[Row, ...]) -> Iterator[str]:
    """Yield what else is different, for it may be the cause of what changed."""
    metrics = [_metrics(run) for run in (before, after)]
    if metrics[0] and metrics[1] and metrics[0] != metrics[1]:
        names = [listing(sorted({scale.title for scale in found})) for found in metrics]
        yield f"The metric differs, {names[0]} and {names[1]}, so that it cannot be compared."
    settings = differing(dict(flat(before.record.config)), dict(flat(after.record.config)), absent=None)
    settings.pop("name", None)
    if settings:
        values = {key: [shorten("none" if v is None else str(v), 60) for v in both] for key, both in settings.items()}
        shown = [f"{clean(key)} {a} → {b}" for key, (a, b) in values.items()]
        yield f"Settings differ: {_some(shown)}."
    if versions := differing(made_with(before), made_with(after), absent="none"):
        shown = [f"{clean(name)} {clean(a)} → {clean(b)}" for name, (a, b) in versions.items()]
        yield f"What the runs were made with differs: {_some(shown)}."
    unpaired = [row.label for row in rows if (change := row.first(METRIC_DROP)) and not change.paired]
    if unpaired:
        why = (
            "the data, or the file that loads it, are not known to be the same"
            if any(not pair.same_data for row in rows for pair in row.group.pairs)
            else "what each sample got is missing"
            if not rows[0].is_accuracy
            else "per-sample correctness is missing"
        )
        subject = "Accuracy" if rows[0].is_accuracy else "The metric"
        yield f"{subject} is compared unpaired, with wider intervals, for {_some(unpaired)}: {why}."
    noisy = [
        f"{row.label}{setting_text(change.setting)}"
        for row in rows
        for change in row.changes["latency_p50"]
        if change.noisy
    ]
    if noisy:
        yield (
            f"The timing of {_some(noisy)} is NOISY in one run at least: its intervals contain the noise and are wider."
        )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for change in row.changes["latency_p50"]:
            if change.open:
                reasons.setdefault(change.open, []).append(f"{row.label}{setting_text(change.setting)}")
    timed = sum(len(row.changes["latency_p50"]) for row in rows)
    for reason, labels in reasons.items():
        where = "any row" if len(labels) == timed else _some(labels)
        yield f"Latency is not compared for {where}: {clean(reason)}."


def _metrics(run: Run) -> frozenset[Scale]:
    return frozenset(trial.evaluated.scale for trial in run.trials if trial.evaluated)


def _some(names: list[str]) -> str:
    return first_of(names, ALSO_NAMED) if len(names) > ALSO_NAMED else listing(names)
