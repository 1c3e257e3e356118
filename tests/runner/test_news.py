"""News of tasks reach whoever watches the run, from this process and from workers."""

import re

import pytest
from quick import QUICK_TIMED, quick
from sweeps import Recorder

from sparsebench import run_sweep
from sparsebench.runner import carry_out
from sparsebench.runner.tasks import Noted, Timed
from sparsebench.timing import Step


class Listening(Recorder):
    """Knows what was told of timing."""

    def __init__(self):
        super().__init__()
        self.steps, self.notes = [], []

    def timed(self, stages, text):
        self.steps.append((len(stages), text))

    def noted(self, text):
        self.notes.append(text)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [None, 2], ids=["this process", "workers"])
def test_where_a_session_stands_and_that_it_lasts_longer_than_asked_for_reach_whoever_watches(tmp_path, jobs):
    watcher = Listening()
    run_sweep(quick(*QUICK_TIMED), runs_dir=tmp_path, watcher=watcher, jobs=jobs)
    assert {count for count, _ in watcher.steps} == {4}
    assert watcher.steps[0] == (4, "starting 6 processes")
    assert all(re.fullmatch(r"process \d of 6, round \d of \d", text) for _, text in watcher.steps[1:])
    (note,) = watcher.notes
    assert re.fullmatch(
        r"These 4 networks take at least \d+ s to time; measure.seconds_cap = 0.01 is too short for that, and they "
        r"take as long\.",
        note,
    )


class Stage:
    settings = {"seconds_cap": 45.0}  # noqa: RUF012


@pytest.fixture
def now(monkeypatch):
    """A clock of seconds, set by hand."""
    state = {"now": 100.0}
    monkeypatch.setattr(carry_out.time, "monotonic", lambda: state["now"])
    return state


def test_a_session_tells_where_it_stands_a_few_times_a_second(now):
    told = []
    watch = carry_out._told([Stage()] * 24, "key", told.append)
    for number in range(1, 101):
        watch(Step(1, 6, number, 100))
        now["now"] += 0.01
    assert [event.text for event in told] == [f"process 1 of 6, round {number} of 100" for number in (1, 26, 51, 76)]
    assert {(type(event), event.key) for event in told} == {(Timed, "key")}


def test_that_a_cap_is_too_short_is_told_at_once_and_only_once(now):
    told = []
    watch = carry_out._told([Stage()] * 24, "key", told.append)
    watch(Step(0, 6))
    watch(Step(0, 6, seconds=74.4))
    watch(Step(0, 6, seconds=80.0))
    text = (
        "These 24 networks take at least 74 s to time; measure.seconds_cap = 45 is too short for that, and they take "
        "as long."
    )
    assert told == [Timed("key", "starting 6 processes"), Noted("key", text)]
