"""What must be known of the latencies before they are believed: machines, states, time, baselines, other work."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from sparsebench.points.baselines import EAGER
from sparsebench.points.latency import sessions
from sparsebench.points.points import Section
from sparsebench.report.lines import DENSE, session_name, subject
from sparsebench.store.records import Run
from sparsebench.store.timings import PAIRED, SessionResult
from sparsebench.wording.numbers import decimal, percent
from sparsebench.wording.text import counted, escape, listing

STEAL_TOLERANCE = 0.05
"""Share of the cores' time in a round that a hypervisor may give to others unremarked."""

FOREIGN_TOLERANCE = 0.5
"""How many cores other processes may keep busy during a session, in the mean, unremarked."""


def timed_elsewhere(run: Run) -> Iterator[str]:
    """Yield that latencies are of several machines, of which one is shown."""
    counts = Counter(record.environment.machine for trial in run.trials for record in trial.measure if record.result)
    if len(counts) > 1:
        names, shown = listing([escape(name) for name in counts]), escape(counts.most_common(1)[0][0])
        yield f"Latency was measured on {len(counts)} machines ({names}). Only that of {shown} is shown."


def short_of_time(sections: Sequence[Section]) -> Iterator[str]:
    """Yield which sessions had too little time, with the setting that gives it."""
    for name, session in _named_sessions(sections):
        if not session.enough or session.seconds_needed:
            yield _too_short(name, session)


def other_baselines(sections: Sequence[Section]) -> Iterator[str]:
    """Yield which sessions have another baseline than dense fp32."""
    for row in (row for section in sections for row in sessions(section.trials)):
        if not row.measured.against.baseline.startswith(DENSE):
            other = escape(row.measured.against.baseline)
            yield f"Timing of {session_name(row, sections)} is compared with {other}, not with dense fp32."


def conditions(sections: Sequence[Section]) -> Iterator[str]:
    """Yield what else was going on while a session was timed."""
    for name, session in _named_sessions(sections):
        if session.in_process_because:
            yield (
                f"{name} was timed in the process of the sweep ({escape(session.in_process_because)}), so its "
                "memory layout is not averaged out."
            )
        steal, foreign, throttled = (
            session.conditions.get(field) or 0.0 for field in ("steal_share", "foreign_cores", "throttle_events")
        )
        if steal > STEAL_TOLERANCE:
            yield f"Timing of {name}: a hypervisor took up to {percent(steal, 0)} % of the cores' time in a round."
        if foreign > FOREIGN_TOLERANCE:
            yield f"Timing of {name}: other processes kept {decimal(foreign, 1)} cores busy on average."
        if throttled:
            yield f"Timing of {name}: heat slowed the cores down up to {throttled:,.0f} times in a round."


def _named_sessions(sections: Sequence[Section]) -> Iterator[tuple[str, SessionResult]]:
    for row in (row for section in sections for row in sessions(section.trials)):
        yield session_name(row, sections), row.measured.session


def _too_short(name: str, session: SessionResult) -> str:
    """Return that a session had less time than it needs, with the setting that gives it."""
    # Some more than the least, for a machine may get slower.
    cap = math.ceil(1.2 * (session.seconds_needed or 2 * session.seconds) / 10) * 10
    found = [] if session.enough else [f"only {counted(session.processes, 'process', 'processes')} timed"]
    found += [f"it needs at least {session.seconds_needed:,.0f} s"] if session.seconds_needed else []
    return f"Timing of {name} had too little time ({listing(found)}). Set measure.seconds_cap = {cap}."


def older(sections: Sequence[Section]) -> Iterator[str]:
    """Yield that sessions are of a protocol whose intervals say less."""
    found = [row.measured for section in sections for row in sessions(section.trials)]
    older = sum(measured.protocol == PAIRED for measured in found)
    if older:
        yield (
            f"{older} of {counted(len(found), 'timing session')} used an earlier protocol, in which each interval "
            "holds for itself alone: of many networks, some verdict is wrong by chance. Time them again."
        )


def fallbacks(sections: Sequence[Section]) -> Iterator[str]:
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
                f"{subject(section)}: eager ran a slow {escape(kernel)} at {'; '.join(places)}, so speedups over eager "
                "flatter other backends."
            )
