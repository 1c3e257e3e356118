"""The checklist for reporting of pruning results, computed from the records and never filled in by hand.

Source: Blalock, Gonzalez Ortiz, Frankle and Guttag 2020, "What is the State of Neural Network Pruning?", MLSys, and
what its authors ask for in the text. Points on timing and on the use of splits are added.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sparsebench.points.points import Point, Section
from sparsebench.report.caveats import trained_records
from sparsebench.report.lines import subject
from sparsebench.statistics.verdicts import Validity
from sparsebench.store.records import Run
from sparsebench.store.results import TrainResult
from sparsebench.store.scales import ACCURACY
from sparsebench.wording.text import counted, escape, listing

LOW_RATIO, HIGH_RATIO = 2.0, 32.0
"""Compression ratios that operating points should span; the paper proposes 2, 4, 8, 16 and 32."""


class Check(NamedTuple):
    """One point of practice, whether the run keeps it, and what is there or missing."""

    kept: bool
    practice: str
    evidence: str


TOYS = ("digits", "digits_rows", "mnist", "fashion_mnist", "kmnist")
"""Data sets on which nearly everything works; the paper finds that results on MNIST do not carry over."""

TOY_SAMPLES = 10_000
"""Training samples below which a data set counts as a toy, whatever it is called."""


def checklist(run: Run, sections: Sequence[Section]) -> list[Check]:
    """Return every point of practice with what the records say to it, and what is missing where it is not kept."""
    points = [point for section in sections for point in section.shown if point.value]
    found = [record for _, record in trained_records(run).values()]
    return [
        *_subjects(run, sections, points),
        *_operating_points(sections, points),
        *_seeds(points),
        *_metrics(points, found),
        *_controls(points),
        *_provenance(run, found),
    ]


def checklist_markdown(checks: list[Check]) -> str:
    """Return the checklist as a Markdown list, with its score."""
    kept = sum(check.kept for check in checks)
    lines = (f"- {'✓' if c.kept else '✗'} {c.practice} ({c.evidence})" for c in checks)
    return "\n".join([f"{kept} of {len(checks)} kept.", "", *lines])


def _check(kept: bool, practice: str, evidence: str, otherwise: str = "", hint: str = "") -> Check:
    """Return a check with its evidence; where it is not kept, with what stands ``otherwise``, and what would help."""
    return Check(kept, practice, evidence if kept else f"{otherwise or evidence}{hint}")


def _subjects(run: Run, sections: Sequence[Section], points: list[Point]) -> Iterator[Check]:
    pairs = [subject(section) for section in sections if section.shown]
    scale = next((point.scale for point in points), ACCURACY)
    metrics = "top-1 and top-5 accuracy" if any(point.top5 for point in points) else scale.title
    yield _check(
        bool(pairs),
        "architectures, data sets and metrics are named",
        f"{listing(pairs[:6])}; {metrics}",
        "nothing has finished",
    )
    yield _check(
        len(pairs) >= 3,
        "at least 3 (data set, architecture) pairs",
        f"{len(pairs)} of 3",
        hint=" in this run; reports of other runs may supply the others",
    )
    sizes = {trial.trial.data: record.train_samples for trial, record in trained_records(run).values()}
    real = [escape(data) for data, samples in sizes.items() if data not in TOYS and samples >= TOY_SAMPLES]
    yield _check(
        bool(real),
        "not on toy data sets alone",
        listing(real[:6]),
        f"{listing([escape(data) for data in sizes][:6])} alone in this run" if sizes else "nothing has finished",
    )


def _operating_points(sections: Sequence[Section], points: list[Point]) -> Iterator[Check]:
    amounts: defaultdict[tuple[str, str, str], set[float]] = defaultdict(set)
    for point in points:
        if not point.dense and point.pruner:
            amounts[point.model, point.data, point.pruner].add(point.threshold)
    # The dense control is one end of every trade-off curve.
    controls = {(p.model, p.data) for p in points if p.dense}
    fewest = min((len(found) + (key[:2] in controls) for key, found in amounts.items()), default=len(controls and {0}))
    yield _check(
        fewest >= 5, "at least 5 operating points on each trade-off curve", f"{fewest} of 5", hint="; add thresholds"
    )
    ratios = [p.compression_ratio for p in points if p.compression_ratio and not p.is_baseline]
    yield _check(
        bool(ratios) and min(ratios) <= LOW_RATIO and max(ratios) >= HIGH_RATIO,
        f"compression ratios span {LOW_RATIO:g}× to {HIGH_RATIO:g}× or more",
        f"{min(ratios):.3g}× to {max(ratios):.3g}×" if ratios else "none",
        hint="; add thresholds towards the missing end",
    )
    yield _check(any(len(section.thresholds) > 1 for section in sections), "trade-off curves", "plotted", "missing")


def _seeds(points: list[Point]) -> Iterator[Check]:
    fewest = min((point.value.n for point in points if point.value), default=0)
    yield _check(
        fewest >= 3,
        "at least 3 seeds for every point",
        f"{fewest} of 3 at the point with fewest",
        hint="; add seeds",
    )
    yield _check(
        fewest >= 2,
        "mean and sample standard deviation",
        "printed, n stated, error bars defined",
        "a single seed has no deviation",
    )


def _metrics(points: list[Point], trained: list[TrainResult]) -> Iterator[Check]:
    none = "" if points else "nothing was evaluated"
    lacking = {
        "compression ratio": sum(point.compression_ratio is None for point in points),
        "theoretical speedup": sum(point.theoretical_speedup is None for point in points),
    }
    missing = "; ".join(f"{ratio} missing at {counted(count, 'point')}" for ratio, count in lacking.items() if count)
    yield _check(
        bool(points) and not missing, "compression ratio and theoretical speedup", "both given", none or missing
    )
    if points and not points[0].scale.is_accuracy:
        pass  # Top-5 goes with top-1.
    elif points and not any(record.classes >= 10 for record in trained):
        yield Check(True, "top-1 and top-5", "top-1; with fewer than 10 classes top-5 says little")
    else:
        without = sum(point.top5 is None for point in points)
        missing = none or f"top-5 missing at {counted(without, 'point')}"
        yield _check(bool(points) and not without, "top-1 and top-5", "both given", missing)
    yield _check(bool(points), "raw accuracies, not only differences", "in the tables and in data.csv", "none")
    paired = bool(points) and all(p.drop.paired for p in points if p.drop) and any(p.drop for p in points)
    yield _check(
        paired,
        "accuracy differences with paired intervals",
        "from per-sample correctness",
        "per-sample correctness is missing",
    )
    sessions = {m.session.id: m.session for point in points for seed in point.seeds for m in seed.trial.measured}
    states = Counter(session.state for session in sessions.values())
    told = {state: states[state] for state in Validity if states[state]}
    yield _check(
        bool(sessions) and not states[Validity.INVALID],
        "speedups from paired timing, with controls",
        f"{counted(len(sessions), 'session')}: {listing([f'{count:,} {state}' for state, count in told.items()])}",
        "" if sessions else "no latency was measured; set measure.batch_sizes",
    )


def _controls(points: list[Point]) -> Iterator[Check]:
    without = sum(point.drop is None for point in points)
    yield _check(
        bool(points) and not without,
        "dense control made by the same code",
        "same code, seed and backend",
        f"missing at {counted(without, 'point')}; add threshold 0 and scheme fp32" if points else "none",
    )
    # A trainer of the user's own may prune in its own way, whatever it was asked for.
    trained = [seed.trial.trained for point in points if not point.dense for seed in point.seeds]
    pruners = {record.pruned_by.partition("(")[0] for record in trained if record}
    yield _check("random" in pruners, "random pruning as a baseline", "run", 'missing; add "random" to pruners')
    wanted = {"magnitude": "global", "layer_magnitude": "layer-wise"}
    missing = [f'{kind} missing; add "{name}" to pruners' for name, kind in wanted.items() if name not in pruners]
    yield _check(not missing, "magnitude baselines, global and layer-wise", "both run", ", ".join(missing))


def _provenance(run: Run, trained: list[TrainResult]) -> Iterator[Check]:
    environment = run.record.environment
    yield Check(bool(run.record.config), "hyperparameters", "the resolved config is on this page")
    yield _check(
        bool(environment.cpu and environment.versions), "hardware and library versions", "on this page", "missing"
    )
    changed = (environment.commit or "").endswith("-dirty")
    yield _check(
        bool(environment.commit) and not changed,
        "commit of the code",
        "on this page",
        "the code had changes that are in no commit" if changed else "missing; run from a git checkout",
    )
    yield _check(
        bool(trained) and all(record.val_samples > 0 for record in trained),
        "no choice made on the test set while training",
        "chosen on validation data, the test set read once",
        "no validation data",
    )
