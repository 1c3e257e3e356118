"""What a run cost, and how much of its time passed outside of stages."""

from dataclasses import replace

import pytest
from handmade import Bench

from sparsebench.report.costs import elapsed, elapsed_sentence
from sparsebench.report.findings import stages


def run_of(*spans, kind=None):
    """Return a run whose stages began so many seconds after midnight and took so long."""
    run = Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build()
    (trial,) = run.trials
    names = ("train", "compress", "evaluate")
    records = {}
    for name, (start, seconds) in zip(names, spans, strict=True):
        record = replace(getattr(trial, name), started_at=moment(start), seconds=seconds)
        records[name] = replace(record, stage=kind) if kind else record
    return replace(run, trials=(replace(trial, measure=(), ancestors=(), **records),))


def moment(seconds):
    minutes, seconds = divmod(seconds, 60)
    return f"2026-01-01T00:{int(minutes):02}:{seconds:06.3f}+00:00"


def test_time_between_stages_is_idle():
    found = elapsed(run_of((0.0, 10.0), (10.5, 4.0), (15.0, 5.0)))
    assert (found.seconds, found.idle, found.pauses) == (20.0, pytest.approx(1.0), 0)


def test_stages_at_the_same_time_leave_no_idle_time():
    found = elapsed(run_of((0.0, 10.0), (2.0, 3.0), (9.0, 5.0)))
    assert (found.seconds, found.idle) == (14.0, 0.0)


def test_networks_that_are_timed_together_took_the_sum_of_their_shares():
    found = elapsed(run_of((0.0, 4.0), (0.0, 4.0), (0.0, 4.0), kind="measure"))
    assert (found.seconds, found.idle) == (12.0, 0.0)


def test_a_run_that_was_stopped_for_a_night_did_not_idle():
    run = run_of((0.0, 10.0), (1800.0, 10.0), (1811.0, 9.0))
    assert elapsed_sentence(run) == (
        "From the start of the first stage to the end of the last it took 30.0 s, 1 pause left out; 3.3 % of that "
        "passed outside of stages."
    )


def test_records_that_do_not_say_when_exactly_they_began_tell_nothing():
    run = Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build()
    assert "." not in next(iter(stages(run).values())).started_at
    assert elapsed(run) is None
    assert elapsed_sentence(run) == ""
