"""What a run cost, and what sharing and resuming saved."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from handmade import Bench, stage
from sweeps import tiny

from sparsebench import run_sweep
from sparsebench.report import write_report
from sparsebench.report.caveats import stages
from sparsebench.report.costs import costs, costs_markdown, costs_table, joined_spans, savings, wall
from sparsebench.store.records import Run
from sparsebench.store.run_directory import note_start, read_starts

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def timed(run: Run, begins: dict[str, float], starts: tuple[float, ...]) -> Run:
    """The run with its stages begun so many seconds after noon, by kind, and started when asked."""

    def moved(record):
        at = NOON + timedelta(seconds=begins[record.stage])
        return replace(record, started_at=at.isoformat(timespec="milliseconds"))

    trials = tuple(
        replace(
            trial,
            measure=tuple(map(moved, trial.measure)),
            **{name: moved(getattr(trial, name)) for name in ("train", "compress", "evaluate")},
        )
        for trial in run.trials
    )
    return replace(run, trials=trials, starts=tuple(NOON + timedelta(seconds=at) for at in starts))


ONE = Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,), validated=False).build()
"""One trial: 10 s of training, 1 s of compression, 0.5 s of evaluation, 0.25 s of timing."""


def test_costs_count_a_shared_stage_once():
    run = Bench(thresholds=(0.0, 0.5), seeds=(0,)).build()
    parent = stage("train", "parent", None)
    run = replace(run, trials=tuple(replace(trial, ancestors=(parent,)) for trial in run.trials))
    head, _, *rows = re.sub(" +", " ", costs_table(run)).splitlines()
    assert [head, *rows] == [
        "| stage | stages | failed | seconds | samples/s |",
        "| train | 3 | 0 | 30.0 | 1,000 |",
        "| compress | 8 | 0 | 8.0 | – |",
        "| of which calibration | | | 2.0 | |",
        "| evaluate | 16 | 0 | 8.0 | 800 |",
        "| measure | 8 | 0 | 2.0 | – |",
        "| total | 35 | 0 | 48.0 | |",
    ]


def test_samples_per_second_of_several_trainings_are_all_samples_over_all_seconds():
    run = Bench(thresholds=(0.0, 0.5), schemes=("fp32",), seeds=(0,)).build()
    fast, slow = run.trials
    slower = replace(slow.train.result, samples_per_second=250.0)
    run = replace(run, trials=(fast, replace(slow, train=replace(slow.train, result=slower))))
    # 10 epochs of 1000 samples in 10 s, and again in 40 s.
    assert costs(run)[0].samples_per_second == pytest.approx(20_000 / 50)


def test_a_network_that_was_loaded_and_not_trained_has_no_speed():
    loaded = replace(ONE.trials[0].train.result, epochs=0)
    run = replace(ONE, trials=(replace(ONE.trials[0], train=replace(ONE.trials[0].train, result=loaded)),))
    assert costs(run)[0].samples_per_second is None


def test_sharing_saves_what_trials_would_take_one_by_one():
    found = savings(Bench(thresholds=(0.0,), seeds=(0,)).build())
    # Four schemes share one training of 10 s.
    assert (found.trials, found.apart_seconds - found.spent_seconds) == (4, pytest.approx(30.0))


def test_what_was_done_before_the_last_start_was_not_done_again():
    begins = {"train": 1, "compress": 12, "evaluate": 31, "measure": 32}
    found = savings(timed(ONE, begins, starts=(0, 30)))
    assert (found.starts, found.kept_stages, found.kept_seconds) == (2, 2, pytest.approx(11.0))
    text = costs_markdown(timed(ONE, begins, starts=(0, 30)))
    assert "- **resumed**: the last of 2 starts found 2 stages done and saved their 11.0 s." in text


def test_a_run_that_was_started_once_resumed_nothing():
    text = costs_markdown(timed(ONE, {"train": 0, "compress": 10, "evaluate": 11, "measure": 12}, starts=(0,)))
    assert "- **resumed**: nothing, the run was started once." in text


def test_time_outside_stages_counts_from_each_start_to_its_last_stage_and_not_the_break_between():
    # Started at 0 and at 100; a second before the first stage, another between evaluation and timing.
    begins = {"train": 1, "compress": 11, "evaluate": 100.5, "measure": 102}
    found = wall(timed(ONE, begins, starts=(0, 100)))
    assert found.seconds == pytest.approx(12.0 + 2.25)
    assert found.busy_seconds == pytest.approx(10 + 1 + 0.5 + 0.25)
    assert found.outside == pytest.approx(1 - 11.75 / 14.25)


def test_stages_that_run_side_by_side_are_counted_once():
    run = Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0, 1), validated=False).build()
    begins = {"train": 0, "compress": 10, "evaluate": 11, "measure": 11.5}
    found = wall(timed(run, begins, starts=(0,)))
    # Two seeds were timed together: each of their records has its share of one session.
    assert (found.seconds, found.busy_seconds) == (pytest.approx(12.0), pytest.approx(12.0))


def test_records_in_whole_seconds_and_runs_without_a_start_do_not_tell_the_time_between():
    assert wall(ONE) is None
    assert wall(replace(ONE, starts=(NOON,))) is None
    text = costs_markdown(ONE)
    assert "- **resumed**: unknown, because the starts of the run were not recorded." in text
    assert "- **outside the stages**: unknown" in text


def test_spans_that_overlap_are_joined():
    assert joined_spans([(3, 4), (0, 2), (1, 2.5), (4, 5)]) == [(0, 2.5), (3, 5)]


def test_starts_are_read_back_in_their_order_and_other_files_passed_over(tmp_path):
    later, earlier = NOON + timedelta(microseconds=5), NOON
    for at in (later, earlier, earlier):
        note_start(tmp_path, at)
    (tmp_path / "starts" / "note.txt").write_text("mine")
    assert read_starts(tmp_path) == (earlier, earlier, later)
    assert read_starts(tmp_path / "nowhere") == ()


def test_a_real_run_notes_each_start_that_found_work_and_tells_its_time_between(tmp_path):
    few = ("thresholds=0", "measure.batch_sizes=[]", "train.epochs=1")
    first = run_sweep(tiny(*few, "schemes=fp32"), runs_dir=tmp_path)
    again = run_sweep(tiny(*few, "schemes=fp32"), runs_dir=tmp_path)
    assert len(first.starts) == len(again.starts) == 1
    more = run_sweep(tiny(*few, "schemes=fp32,dynamic"), runs_dir=tmp_path)
    assert len(more.starts) == 2
    kept = savings(more)
    assert (kept.starts, kept.kept_stages) == (2, len(stages(first)))
    found = wall(more)
    assert 0 < found.busy_seconds <= found.seconds
    assert found.busy_seconds == pytest.approx(sum(cost.seconds for cost in costs(more)), abs=0.05)
    assert "% of " in costs_markdown(more)
    assert '"outside"' in write_report(more, tmp_path / "report").with_name("data.json").read_text()
