"""One latency for each network, whichever session timed it, and the columns of the tables in which it stands."""

from collections.abc import Iterable
from typing import Any

from sparsebench.statistics.verdicts import Validity, Verdict
from sparsebench.store.timings import MeasureResult, SpeedupResult

Timed = tuple[str, str | None, MeasureResult]
"""The machine that timed a network, the key of the stage that compressed it, and its latency."""


class Latencies:
    """The latencies of networks that several sessions timed, on one axis.

    What the machine did in one session and not in another counts with none of them: a latency is that of the baseline
    that all sessions share, dense fp32 on eager, in the session that has its record, divided by the speedup over it.
    """

    def __init__(self, timed: Iterable[Timed] = ()) -> None:
        self._known: dict[tuple[str, str | None, int, int], float] = {}
        for one in timed:
            self.add(one)

    def add(self, timed: Timed) -> None:
        """Take a latency that was measured."""
        machine, key, measured = timed
        self._known[machine, key, measured.batch_size, measured.threads] = measured.shown_ms

    def ms(self, machine: str, measured: MeasureResult) -> float:
        """Return a latency in milliseconds.

        Where eager was not timed along, the baseline is dense fp32 of its own backend; where that has no record of
        this machine, the latency is that of its own session.
        """
        found = self.on_axis(machine, measured)
        return measured.shown_ms if found is None else found

    def on_axis(self, machine: str, measured: MeasureResult) -> float | None:
        """Return a latency in milliseconds; None where the record of its baseline is not known."""
        beside = measured.against_eager or measured.against
        baseline_ms = self._known.get((machine, beside.compress, measured.batch_size, measured.threads))
        return None if baseline_ms is None else baseline_ms / beside.speedup


def verdict_of(measured: MeasureResult, speedup: SpeedupResult, compress: str | None) -> Verdict:
    """Return what one reads off the interval of a speedup.

    Args:
        measured: the latency.
        speedup: one of its speedups.
        compress: key of the stage that made the network; beside itself it is the baseline.
    """
    return Verdict.BASELINE if speedup.compress == compress else measured.verdict(speedup)


def said(verdict: Verdict, state: Validity) -> str:
    """Return a verdict as it is said: none in a session that cannot be trusted."""
    return str(Validity.INVALID if state is Validity.INVALID else verdict)


def latency_columns(measured: MeasureResult | None, ms: float | None, compress: str | None) -> dict[str, Any]:
    """Return a latency as columns of a table; all of them are None where nothing was timed.

    ``latency_ms`` is that of reports; percentiles are those of its own calls. ``speedup`` is over dense fp32 of the
    same backend, ``speedup_eager`` over that of eager, each with the limits of its 95 % interval and its verdict.
    ``timing_state`` and ``timing_resolution`` (a fraction) say how far its session can be trusted.
    ``peak_memory_bytes`` is the median over processes, with the least and the most of them.

    Args:
        measured: the latency; None where nothing was timed.
        ms: the latency on the axis of its run, in milliseconds.
        compress: key of the stage that made the network.
    """
    m, session = measured, measured and measured.session
    own, eager = (m.against, m.against_eager) if m else (None, None)
    peaks = m.peak_memory_by_process if m else ()
    return {
        **{name: m and getattr(m, name) for name in ("batch_size", "threads", "cache")},
        "latency_ms": ms,
        "latency_p95_ms": m and m.p95_ms,
        "latency_p99_ms": m and m.p99_ms,
        "throughput_per_s": 1000 * m.batch_size / ms if m and ms else None,
        **_speedup("speedup", own),
        **_speedup("speedup_eager", eager),
        "latency_baseline": own and own.baseline,
        "verdict": said(verdict_of(m, own, compress), m.session.state) if m and own else None,
        "verdict_eager": said(verdict_of(m, eager, compress), m.session.state) if m and eager else None,
        "timing_state": session and str(session.state),
        "timing_resolution": session and session.resolution,
        "timing_processes": session and session.processes,
        "timing_session": session and session.id,
        "fallback_kernels": m and "; ".join(m.fallback_kernels),
        "peak_memory_bytes": m and m.peak_memory_bytes,
        "peak_memory_low_bytes": min(peaks, default=None),
        "peak_memory_high_bytes": max(peaks, default=None),
    }


def _speedup(name: str, found: SpeedupResult | None) -> dict[str, float | None]:
    columns = {name: "speedup", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: getattr(found, field) if found else None for column, field in columns.items()}
