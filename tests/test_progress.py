"""The progress display: what a person reads in a terminal, and in a log."""

import io
import re

import pytest
from handmade import stage_record
from test_plan import FACTS

from sparsebench import load_config
from sparsebench.forecast import Forecast, Tally, clock
from sparsebench.plan import make_plan
from sparsebench.progress import Bar, Lines, watcher_for
from sparsebench.records import EpochRecord, EvaluateResult, Failure

PLAN = make_plan(load_config(None, ["seeds=0", "thresholds=0.5", "schemes=fp32", "measure.batch_sizes=1"]), FACTS)
PENDING = {stage.key: "pending" for stage in PLAN.stages}
SCORED = EvaluateResult(samples=100, top1=0.9, top1_low=0.8, top1_high=0.95, top5=None, correct_bits=None)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def plain(screen):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())


def stage_of(kind):
    return next(stage for stage in PLAN.stages if stage.kind == kind)


def test_a_log_has_a_line_for_every_finished_stage_with_its_place_and_its_outcome():
    log = io.StringIO()
    lines = watcher_for(log)
    assert isinstance(lines, Lines)
    with lines:
        lines.planned(PLAN, PENDING)
        lines.finished(stage_of("evaluate"), stage_record(result=SCORED, seconds=1.25))
    assert log.getvalue() == (
        "1 trials in 6 stages: 6 pending.\n"
        "[1/6] evaluate small_cnn · digits · magnitude 0.5 · fp32 · eager · seed 0: top-1 90.00 % (1.2 s)\n"
    )


def test_a_terminal_shows_how_far_the_sweep_is_and_every_running_stage_with_its_epoch():
    screen = Terminal()
    bar = watcher_for(screen)
    assert isinstance(bar, Bar)
    trained, compressed = stage_of("train"), stage_of("compress")
    with bar:
        bar.planned(PLAN, PENDING)
        bar.parallel(2)
        bar.started(trained)
        bar.started(compressed)
        bar.epoch(trained, EpochRecord(epoch=3, train_loss=1, val_loss=1, val_accuracy=0.5, threshold=0.25), 12)
        bar.live.refresh()
        shown = plain(screen)
        bar.finished(trained, stage_record(stage="train"))
        bar.live.refresh()
    assert "0/6 stages · 2 running · 4 waiting · 0:00" in shown
    assert "training small_cnn · digits · dense, from scratch · seed 0 · epoch 3/12 · val 50.0 % · spa" in shown
    assert "compressing small_cnn · digits · magnitude 0.5 · fp32 · eager · seed 0 · 0:00" in shown
    assert "1/6 stages · 1 running · 4 waiting" in plain(screen)


def test_networks_that_are_timed_together_have_one_line():
    screen = Terminal()
    with watcher_for(screen) as bar:
        bar.planned(PLAN, PENDING)
        bar.started(stage_of("measure"))
        bar.together([stage_of("measure")])
        bar.live.refresh()
    assert "timing 1 networks together · batch 1 · threads 1 · 0:00" in plain(screen)
    assert "timing small_cnn" not in plain(screen)


def test_of_very_many_running_stages_the_first_are_shown():
    screen = Terminal()
    found = make_plan(load_config(None, ["measure.batch_sizes=[]"]), FACTS)
    with watcher_for(screen) as bar:
        bar.planned(found, dict.fromkeys((stage.key for stage in found.stages), "pending"))
        for stage in found.stages[:20]:
            bar.started(stage)
        bar.live.refresh()
    assert "… and 8 more" in plain(screen)


@pytest.mark.parametrize("screen", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_what_a_worker_prints_is_shown_as_it_is(screen):
    with watcher_for(screen) as watcher:
        watcher.planned(PLAN, PENDING)
        watcher.said("[bold]epoch 1[/bold]: fine")
    assert "[bold]epoch 1[/bold]: fine" in plain(screen)


def test_a_failure_stays_on_the_screen_with_its_reason():
    screen = Terminal()
    failed = stage_record(status="failed", failure=Failure(error="TrainingError", message="loss is nan", traceback=""))
    with watcher_for(screen) as bar:
        bar.planned(PLAN, PENDING)
        bar.finished(stage_of("evaluate"), failed)
    assert "evaluate failed (attempt 1): TrainingError: loss is nan" in plain(screen)


def forecast(**left):
    found = Forecast()
    found.left.update(left)
    return found


def test_the_time_left_is_unknown_until_each_kind_of_stage_has_run_once():
    found = forecast(train=2, evaluate=2)
    found.finished("train", 10.0)
    assert found.seconds_left() is None
    found.finished("evaluate", 1.0)
    assert found.seconds_left() == 11.0


def test_several_jobs_share_the_time_left_but_for_timing_which_runs_alone():
    found = forecast(train=5, measure=2)
    found.slots = 4
    found.finished("train", 10.0)
    found.finished("measure", 3.0)
    assert found.seconds_left() == 4 * 10 / 4 + 3


def test_timing_that_has_never_run_is_expected_to_last_as_long_as_it_may():
    found = Forecast()
    overrides = ["measure.batch_sizes=1,32", "measure.seconds_cap=20"]
    stages = [s for s in make_plan(load_config(None, overrides), FACTS).stages if s.kind == "measure"]
    found.expect(stages)
    assert found.seconds_left() == pytest.approx(2 * 20)


def test_stages_are_counted_by_where_they_stand():
    tally = Tally()
    states = dict(zip(PENDING, ["done", "failed", "skipped", "pending", "pending", "pending"], strict=True))
    tally.planned(PLAN.stages, states)
    tally.running.add(PLAN.stages[3].key)
    assert str(tally) == "3/6 stages · 1 running · 2 waiting · 1 failed · 1 skipped"
    tally.finished(PLAN.stages[3], stage_record(status="failed"))
    tally.skip(PLAN.stages[4])
    assert str(tally) == "5/6 stages · 1 waiting · 2 failed · 2 skipped"


def test_times_read_as_minutes_and_seconds():
    assert (clock(5), clock(65), clock(3725)) == ("0:05", "1:05", "1:02:05")
