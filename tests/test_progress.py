"""The progress display: what a person reads in a terminal, and in a log."""

import io
import re

import pytest
from handmade import stage_record
from test_plan import FACTS

from sparsebench import load_config
from sparsebench.plan import make_plan
from sparsebench.progress import Bar, Forecast, Lines, clock, watcher_for
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


def test_a_terminal_shows_how_far_the_sweep_is_and_the_epoch_of_the_training_in_hand():
    screen = Terminal()
    bar = watcher_for(screen)
    assert isinstance(bar, Bar)
    with bar:
        bar.planned(PLAN, PENDING)
        bar.started(stage_of("train"))
        bar.epoch(EpochRecord(epoch=3, train_loss=1, val_loss=1, val_accuracy=0.5, threshold=0.25), 12)
        bar.live.refresh()
        shown = plain(screen)
        bar.finished(stage_of("train"), stage_record(stage="train"))
        bar.live.refresh()
    assert "0/6 stages" in shown
    assert "training small_cnn · digits · dense, from scratch · seed 0 · epoch 3/12 · val 50.0 %" in shown
    assert "1/6 stages" in plain(screen)


def test_a_failure_stays_on_the_screen_with_its_reason():
    screen = Terminal()
    failed = stage_record(status="failed", failure=Failure(error="TrainingError", message="loss is nan", traceback=""))
    with watcher_for(screen) as bar:
        bar.planned(PLAN, PENDING)
        bar.finished(stage_of("evaluate"), failed)
    assert "evaluate failed (attempt 1): TrainingError: loss is nan" in plain(screen)


def test_the_time_left_is_unknown_until_each_kind_of_stage_has_run_once():
    forecast = Forecast()
    forecast.left.update(train=2, evaluate=2)
    forecast.finished("train", 10.0)
    assert forecast.seconds_left() is None
    forecast.finished("evaluate", 1.0)
    assert forecast.seconds_left() == 11.0


def test_times_read_as_minutes_and_seconds():
    assert (clock(5), clock(65), clock(3725)) == ("0:05", "1:05", "1:02:05")
