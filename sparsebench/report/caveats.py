"""What a reader must know before believing the tables: warnings, odd accuracies, layers that died."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from sparsebench.points.baselines import EAGER
from sparsebench.points.latency import sessions
from sparsebench.points.points import Section
from sparsebench.report.answer import DENSE, session_name, subject
from sparsebench.statistics.verdicts import Validity
from sparsebench.store.records import Run, StageRecord, TrialResult
from sparsebench.store.results import LoadedWeights, TrainResult
from sparsebench.store.timings import PAIRED, SessionResult
from sparsebench.wording.numbers import decimal, limits, percent
from sparsebench.wording.sessions import session_text
from sparsebench.wording.text import counted, escape, first_of, listing, shorten

ASKED_TOLERANCE = 1e-3
"""Difference between the sparsity asked for and reached, as a fraction, from which on it is reported."""

BACKEND_TOLERANCE_PP = 0.5
"""Difference in top-1, in percentage points, that a backend may make to the uncompressed network unremarked."""

STEAL_TOLERANCE = 0.05
"""Share of the cores' time in a round that a hypervisor may give to others unremarked."""

FOREIGN_TOLERANCE = 0.5
"""How many cores other processes may keep busy during a session, in the mean, unremarked."""

ALSO_LISTED = 8
"""How many names a warning spells out."""


def findings(run: Run, sections: Sequence[Section]) -> list[str]:
    """Return the warnings of a run as sentences of Markdown, the gravest first; empty where there are none."""
    return [
        *_left_out(run),
        *_unfinished(run),
        *_without_control(sections),
        *(text for section in sections for text in _dense_oddities(section)),
        *_recorded(run),
        *_other_sparsity(run),
        *_collapsed(run),
        *_own_pruning(run),
        *(text for section in sections for text in _one_dense_network(section)),
        *_machines(run),
        *_timing(sections),
        *_fallbacks(sections),
        *_older(sections),
    ]


def _left_out(run: Run) -> Iterator[str]:
    for one in run.left_out:
        yield f"The record of {escape(str(one))} is not believed and left out. Start the run again: it is made anew."


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
        yield f"**{counts['failed']:,} of {total} failed**; see “Failed and not offered” for why."
    if counts["pending"]:
        yield f"**{counts['pending']:,} of {total} pending**: the run is not complete."


def _without_control(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        lacking = [b for b in section.backends if not any(p.is_baseline and p.top1 for p in section.on(b))]
        if lacking:
            yield (
                f"{subject(section)}: no dense fp32 trial finished on {listing([escape(name) for name in lacking])}; "
                "drops and speedups are missing there."
            )


def _dense_oddities(section: Section) -> Iterator[str]:
    where = subject(section)
    for point in (p for p in section.shown if p.is_baseline and p.top1):
        if point.chance is not None:
            yield (
                f"{where}: the dense network on {escape(point.backend)} cannot be told from guessing "
                f"({percent(point.chance)} %) for at least one seed; drops against it mean nothing."
            )
        if point.backend != EAGER and point.drop_eager and abs(point.drop_eager.pp) > BACKEND_TOLERANCE_PP:
            yield (
                f"{where}: dense fp32 on {escape(point.backend)} differs from eager by "
                f"{decimal(-point.drop_eager.pp)} pp in top-1, though nothing was compressed."
            )
    better = [(p.drop, p) for p in section.shown if p.drop and p.drop.high_pp < 0]
    if better:
        drop, best = min(better, key=lambda pair: pair[0].pp)
        yield (
            f"{where}: {counted(len(better), 'point')} beat dense fp32 beyond the interval, most of all "
            f"{escape(best.label)} ({decimal(drop.pp)} pp {limits(drop.low_pp, drop.high_pp)}): "
            "the dense network may be under-trained."
        )


def _recorded(run: Run) -> Iterator[str]:
    users: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for trial, record in _records(run.trials):
        for text in record.warnings:
            users[text].setdefault(record.key, trial.trial.label)
    for text, (first, *others) in ((text, labels.values()) for text, labels in users.items()):
        yield f"{escape(shorten(text))} ({escape(first)}{f' and {len(others):,} more' if others else ''})"


def _other_sparsity(run: Run) -> Iterator[str]:
    off: defaultdict[str, list[str]] = defaultdict(list)
    for trial, trained in trained_records(run).values():
        rounding = 0.5 / trained.prunable_weights if trained.prunable_weights else 0.0
        if abs(trained.sparsity - trained.asked_sparsity) > max(ASKED_TOLERANCE, 1.001 * rounding):
            off[f"{_network(trial)}: asked {decimal(trained.asked_sparsity, 4)}"].append(decimal(trained.sparsity, 4))
    for asked, reached in off.items():
        yield f"{asked}, reached {', '.join(reached[:ALSO_LISTED])} of the prunable weights."


def _collapsed(run: Run) -> Iterator[str]:
    dead: defaultdict[str, list[list[str]]] = defaultdict(list)
    for trial, trained in trained_records(run).values():
        dead[_network(trial)].append([layer.name for layer in trained.layers if layer.collapsed])
    for network, by_seed in dead.items():
        seeds, layers = counted(len(by_seed), "seed"), Counter(chain.from_iterable(by_seed))
        names = [f"{escape(shorten(name, 60))} ({count} of {seeds})" for name, count in layers.items()]
        if names:
            yield f"{network}: collapsed, at least 99.5 % zero: {first_of(names, ALSO_LISTED)}."


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
            f"{subject(section)}: its {len(loaded)} seeds prune one dense network, loaded from {source}. Intervals "
            "leave out how much another training of it would change; a checkpoint for each seed, as in "
            "model.weights = 'net-{seed}.pt', puts it in."
        )


def _machines(run: Run) -> Iterator[str]:
    """Yield that networks were trained or timed on several machines: a run may go on on another, but should say so."""
    trained = Counter(record.environment.machine for record in stages(run).values() if record.stage == "train")
    if len(trained) > 1:
        where = listing([f"{count:,} on {escape(machine)}" for machine, count in trained.most_common()])
        yield (
            f"Networks were trained on {len(trained)} machines ({where}). Rounding differs between machines, so that "
            "the same seed may train to a slightly different network; no latency depends on it."
        )
    counts = Counter(record.environment.machine for trial in run.trials for record in trial.measure if record.result)
    if len(counts) > 1:
        names, shown = listing([escape(name) for name in counts]), escape(counts.most_common(1)[0][0])
        yield (
            f"Latency was measured on {len(counts)} machines ({names}); only that of {shown} is shown, for latencies "
            "of two machines are not compared."
        )


def _timing(sections: Sequence[Section]) -> Iterator[str]:
    for row in (row for section in sections for row in sessions(section.trials)):
        name, session = session_name(row, sections), row.measured.session
        if session.state is not Validity.VALID:
            said = session_text(session.state, session.control_limits, session.band, session.resolution)
            yield f"Timing of {name} is {said}"
        if not session.enough or session.seconds_needed:
            yield _too_short(name, session)
        if not row.measured.against.baseline.startswith(DENSE):
            yield f"Timing of {name} is compared with {escape(row.measured.against.baseline)}, not with dense fp32."
        if session.in_process_because:
            yield (
                f"{name} was timed in the process of the sweep ({escape(session.in_process_because)}): what depends on "
                "how a process lays out its memory is not averaged out."
            )
        steal, foreign, throttled = (
            session.conditions.get(field) or 0.0 for field in ("steal_share", "foreign_cores", "throttle_events")
        )
        if steal > STEAL_TOLERANCE:
            yield f"Timing of {name}: a hypervisor took up to {percent(steal, 0)} % of the cores' time in a round."
        if foreign > FOREIGN_TOLERANCE:
            yield f"Timing of {name}: other processes kept {decimal(foreign, 1)} cores busy in the mean."
        if throttled:
            yield f"Timing of {name}: cores were slowed down for heat up to {throttled:,.0f} times in a round."


def _too_short(name: str, session: SessionResult) -> str:
    """Return that a session had less time than it needs, with the setting that gives it."""
    # Some more than the least, for a machine may get slower.
    cap = math.ceil(1.2 * (session.seconds_needed or 2 * session.seconds) / 10) * 10
    found = [] if session.enough else [f"only {counted(session.processes, 'process', 'processes')} timed"]
    found += [f"the least that it takes is {session.seconds_needed:,.0f} s"] if session.seconds_needed else []
    return f"Timing of {name}: measure.seconds_cap was too short: {listing(found)}. Raise measure.seconds_cap to {cap}."


def _older(sections: Sequence[Section]) -> Iterator[str]:
    """Yield that sessions are of a protocol whose intervals say less."""
    found = [row.measured for section in sections for row in sessions(section.trials)]
    older = sum(measured.protocol == PAIRED for measured in found)
    if older:
        yield (
            f"{older} of {counted(len(found), 'session')} of timing were timed by an earlier protocol, whose intervals "
            "come from rounds and hold each for itself: among many networks some verdict is wrong by chance. Time them "
            "again for intervals that hold together."
        )


def _fallbacks(sections: Sequence[Section]) -> Iterator[str]:
    """Yield where the baseline on eager ran an operator for want of a faster one."""
    for section in sections:
        found: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for t, measured in ((trial.trial, measured) for trial in section.trials for measured in trial.measured):
            if t.backend == EAGER and t.compress == (measured.against_eager or measured.against).compress:
                where = f"batch {measured.batch_size}, {counted(measured.threads, 'thread')}"
                for kernel in measured.fallback_kernels:
                    found[kernel][where] = None
        for kernel, places in found.items():
            yield (
                f"{subject(section)}: eager ran a {escape(kernel)} at {'; '.join(places)}: speedups over it flatter "
                "other backends."
            )


def _network(trial: TrialResult) -> str:
    return f"{subject(trial.trial)}, {escape(trial.trial.pruning)}"
