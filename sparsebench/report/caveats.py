"""What a reader must know before believing the tables: warnings, odd accuracies, layers that died.

``decisive`` are those on which a decision may turn, which stand beside the answer; ``findings`` are all of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from sparsebench.decide.choosing import MAX_DROP_PP, default_limit
from sparsebench.points.baselines import EAGER, FP32
from sparsebench.points.points import Section
from sparsebench.report.answer import named
from sparsebench.report.lines import subject
from sparsebench.report.timing_caveats import (
    conditions,
    fallbacks,
    older,
    other_baselines,
    short_of_time,
    timed_elsewhere,
)
from sparsebench.store.records import Run, StageRecord, TrialResult
from sparsebench.store.results import LoadedWeights, TrainResult
from sparsebench.wording.numbers import decimal, percent
from sparsebench.wording.scales import in_points, loss_limits, loss_number, points_of
from sparsebench.wording.text import counted, escape, first_of, listing, shorten

ASKED_TOLERANCE = 1e-3
"""Difference between the sparsity asked for and reached, as a fraction, from which on it is reported."""

BACKEND_TOLERANCE_PP = 0.5
"""Difference in top-1, in percentage points, that a backend may make to the uncompressed network unremarked."""

MOST_BESIDE = 8
"""Warnings that stand beside the answer; of more, the gravest."""

ALSO_LISTED = 8
"""How many names a warning spells out."""


def findings(run: Run, sections: Sequence[Section]) -> list[str]:
    """Return all warnings of a run as sentences of Markdown, the gravest first; empty where there are none."""
    return [
        *_left_out(run),
        *_unfinished(run),
        *_without_control(sections),
        *(text for section in sections for text in _dense_oddities(section)),
        *(text for section in sections for text in _one_class(section)),
        *(text for texts in _recorded(run).values() for text in texts),
        *(text for texts in _other_sparsity(run).values() for text in texts),
        *(text for texts in _collapsed(run).values() for text in texts),
        *_own_pruning(run),
        *(text for section in sections for text in _one_dense_network(section)),
        *_trained_elsewhere(run),
        *timed_elsewhere(run),
        *short_of_time(sections),
        *other_baselines(sections),
        *conditions(sections),
        *fallbacks(sections),
        *older(sections),
    ]


def told_apart(run: Run, sections: Sequence[Section]) -> tuple[list[str], list[str]]:
    """Return the warnings that stand beside the answer, and all others, which stand on a page behind it."""
    found = decisive(run, sections)
    first, every = found[:MOST_BESIDE], dict.fromkeys([*found, *findings(run, sections)])
    return first, [text for text in every if text not in first]


def decisive(run: Run, sections: Sequence[Section]) -> list[str]:
    """Return the warnings on which a decision may turn, the gravest first.

    Of what is said of single networks these are what is said of those that the answer names. The state of the timing
    is not among them: the answer itself gives it.
    """
    networks = {_network(s.trial) for sec in sections for p in named(sec).points for s in p.seeds}
    return [
        *_unfinished(run),
        *_without_control(sections),
        *(text for section in sections for text in _dense_oddities(section)),
        *(text for section in sections for text in _one_class(section)),
        *(
            text
            for found in (_recorded(run), _other_sparsity(run), _collapsed(run))
            for network, texts in found.items()
            if network in networks
            for text in texts
        ),
        *(text for section in sections for text in _one_dense_network(section)),
        *timed_elsewhere(run),
        *short_of_time(sections),
        *other_baselines(sections),
        *(fallbacks([section for section in sections if len(section.backends) > 1])),
        *(text for section in sections for text in _only_in_torch(section)),
    ]


def _left_out(run: Run) -> Iterator[str]:
    for one in run.left_out:
        yield f"The record of {escape(str(one))} failed its checks and is left out. Start the run again to redo it."


def trained_records(run: Run) -> dict[str, tuple[TrialResult, TrainResult]]:
    """Return every trained network once, with the first trial that uses it."""
    found: dict[str, tuple[TrialResult, TrainResult]] = {}
    for trial in run.trials:
        if trial.trained is not None:
            found.setdefault(trial.trial.train, (trial, trial.trained))
    return found


def _records(trials: Iterable[TrialResult]) -> Iterator[tuple[TrialResult, StageRecord]]:
    return ((trial, record) for trial in trials for record in trial.records)


def loaded_weights(trials: Iterable[TrialResult]) -> Iterator[tuple[int, LoadedWeights]]:
    """Yield the seed and the checkpoint of every dense network that was loaded, for each trial that comes of it."""
    for trial, record in _records(trials):
        if isinstance(record.result, TrainResult) and record.result.loaded is not None:
            yield trial.trial.seed, record.result.loaded


def stages(run: Run) -> dict[str, StageRecord]:
    """Return every stage once, by its key; trials share the stages that they have in common."""
    return {record.key: record for _, record in _records(run.trials)}


def _unfinished(run: Run) -> Iterator[str]:
    counts, total = Counter(trial.status for trial in run.trials), counted(len(run.trials), "trial")
    if counts["failed"]:
        yield f"**{counts['failed']:,} of {total} failed**: [trials.md](trials.md#failed-and-not-offered) says why."
    if counts["pending"]:
        yield f"**{counts['pending']:,} of {total} not run yet.**"


def _without_control(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        lacking = [b for b in section.backends if not any(p.is_baseline and p.value for p in section.on(b))]
        if lacking:
            where = listing([escape(name) for name in lacking])
            planned = any(t.trial.threshold == 0 and t.trial.scheme == FP32 for t in section.trials)
            add = "" if planned else ' Add 0 to thresholds and "fp32" to schemes.'
            yield f"{subject(section)}: no dense fp32 network on {where}, so no drops and no speedups there.{add}"


def _one_class(section: Section) -> Iterator[str]:
    """Say which networks predict one class only: accuracy alone does not show it where a class is rare."""
    found = [f"**{escape(point.label)}**" for point in section.shown if point.predicts_one_class]
    if found:
        verb = "predicts" if len(found) == 1 else "predict"
        yield f"{subject(section)}: {first_of(found, ALSO_LISTED)} {verb} one class only, for at least one seed."


def _dense_oddities(section: Section) -> Iterator[str]:
    where, scale = subject(section), section.scale
    tolerance = BACKEND_TOLERANCE_PP * default_limit(section) / MAX_DROP_PP
    of_metric = points_of(scale).removeprefix("percentage ")
    for point in (p for p in section.shown if p.is_baseline and p.value):
        if point.chance is not None:
            yield (
                f"{where}: the dense network on {escape(point.backend)} does no better than guessing "
                f"({percent(point.chance)} %) for at least one seed, so drops against it mean nothing."
            )
        if point.backend != EAGER and point.drop_eager and abs(point.drop_eager.loss) > tolerance:
            yield (
                f"{where}: dense fp32 on {escape(point.backend)} differs from eager by "
                f"{loss_number(scale, -point.drop_eager.loss)} {of_metric}, with nothing compressed."
            )
    better = [(p.drop, p) for p in section.shown if p.drop and p.drop.high < 0]
    if better:
        drop, best = min(better, key=lambda pair: pair[0].loss)
        yield (
            f"{where}: {counted(len(better), 'network')} beat dense fp32 significantly, {escape(best.label)} by "
            f"{in_points(scale, -drop.loss)} {loss_limits(scale, -drop.high, -drop.low)}. Was the dense network "
            "trained enough?"
        )


def _recorded(run: Run) -> dict[str, list[str]]:
    """Return what stages warned of, each text once, by the network of the trial that it was said of first."""
    users: defaultdict[str, dict[str, TrialResult]] = defaultdict(dict)
    for trial, record in _records(run.trials):
        for text in record.warnings:
            users[text].setdefault(record.key, trial)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for text, (first, *others) in ((text, list(trials.values())) for text, trials in users.items()):
        more = f" and {len(others):,} more" if others else ""
        found[_network(first)].append(f"{escape(shorten(text))} ({escape(first.trial.label)}{more})")
    return found


def _other_sparsity(run: Run) -> dict[str, list[str]]:
    """Return where another sparsity than the asked one was reached, by network."""
    off: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for trial, trained in trained_records(run).values():
        rounding = 0.5 / trained.prunable_weights if trained.prunable_weights else 0.0
        if abs(trained.sparsity - trained.asked_sparsity) > max(ASKED_TOLERANCE, 1.001 * rounding):
            off[_network(trial), decimal(trained.asked_sparsity, 4)].append(decimal(trained.sparsity, 4))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for (network, asked), reached in off.items():
        shown = ", ".join(dict.fromkeys(reached[:ALSO_LISTED]))
        found[network].append(f"{network}: sparsity {shown} of the prunable weights, asked {asked}.")
    return found


def _collapsed(run: Run) -> dict[str, list[str]]:
    """Return which layers are nearly all zero, by network."""
    dead: defaultdict[str, list[list[str]]] = defaultdict(list)
    for trial, trained in trained_records(run).values():
        dead[_network(trial)].append([layer.name for layer in trained.layers if layer.collapsed])
    found: defaultdict[str, list[str]] = defaultdict(list)
    for network, by_seed in dead.items():
        seeds, layers = counted(len(by_seed), "seed"), Counter(chain.from_iterable(by_seed))
        names = [f"{escape(shorten(name, 60))} ({count} of {seeds})" for name, count in layers.items()]
        if names:
            found[network].append(f"{network}: layers at least 99.5 % zero: {first_of(names, ALSO_LISTED)}.")
    return found


def _own_pruning(run: Run) -> Iterator[str]:
    other = {
        (trained.trainer, trial.trial.pruner or "dense", trained.pruned_by): None
        for trial, trained in trained_records(run).values()
        if trial.trial.pruner is not None and trained.pruned_by != trial.trial.pruner
    }
    for trainer, asked, used in other:
        yield f"{escape(trainer)} was asked for {escape(asked)} pruning and used {escape(used)}."


def _one_dense_network(section: Section) -> Iterator[str]:
    """Yield that the seeds prune the same network: they tell less than seeds that train one each."""
    loaded = {seed: weights for seed, weights in loaded_weights(section.trials) if weights.complete}
    if len(loaded) > 1 and len({weights.sha256 or weights.source for weights in loaded.values()}) == 1:
        source = escape(shorten(next(iter(loaded.values())).source))
        yield (
            f"{subject(section)}: all {len(loaded)} seeds prune the same dense network, loaded from {source}, so "
            "intervals do not cover another dense training. To cover it, give one checkpoint for each seed: "
            "model.weights = 'net-{seed}.pt'."
        )


def _trained_elsewhere(run: Run) -> Iterator[str]:
    """Yield that networks were trained on several machines: a run may go on on another, but should say so."""
    trained = Counter(record.environment.machine for record in stages(run).values() if record.stage == "train")
    if len(trained) > 1:
        where = listing([f"{count:,} on {escape(machine)}" for machine, count in trained.most_common()])
        yield (
            f"Networks were trained on {len(trained)} machines ({where}). Their rounding differs, so the same seed may "
            "train to a slightly different network."
        )


def _only_in_torch(section: Section) -> Iterator[str]:
    """Yield what to add where better networks than those named cannot leave PyTorch."""
    found = named(section)
    better = [point for point in (found.smaller, *(one.beaten_by for one in found.fastest)) if point]
    if any(point.backend == EAGER for point in better):
        yield (
            f"{subject(section)}: int8 of eager cannot be exported. To ship int8, add "
            '"onnxruntime" or "openvino" to `backends`.'
        )


def _network(trial: TrialResult) -> str:
    return f"{subject(trial.trial)}, {escape(trial.trial.pruning)}"
