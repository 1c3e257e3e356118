"""The progress display: what a person reads in a terminal, and in a log."""

import contextlib
import io
import re
from dataclasses import replace

import pytest
from handmade import measured, stage_record
from plans import FACTS

from sparsebench import load_config
from sparsebench.progress.display import Bar, Lines, SessionLine, fitted, watcher_for
from sparsebench.progress.forecast import Tally, clock
from sparsebench.runner.planner import make_plan
from sparsebench.store.records import Failure
from sparsebench.store.results import EpochRecord, EvaluateResult
from sparsebench.wording.numbers import significant

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
        for stage in (stage for stage in PLAN.stages if stage.kind == "evaluate"):
            lines.finished(stage, stage_record(result=SCORED, seconds=1.25))
    network = "small_cnn · digits · magnitude 0.5 · fp32 · eager · seed 0"
    assert log.getvalue() == (
        "1 trial in 7 stages: 7 pending.\n"
        f"[1/7] evaluate {network} · validation: top-1 90.00 % (1.2 s)\n"
        f"[2/7] evaluate {network}: top-1 90.00 % (1.2 s)\n"
    )


def test_a_network_that_was_timed_is_told_with_its_speedup_and_the_latency_that_its_report_will_give():
    key = "ab" * 32
    m = measured("static", "openvino", 0, 1, 1, eager=key)
    told = f"{m.against.speedup:.3f}× dense · fp32 · openvino (2.0 s)"
    log = io.StringIO()
    with watcher_for(log) as lines:
        lines.planned(PLAN, PENDING)
        # Beside a baseline that has no record yet there is no latency to agree with.
        lines.finished(stage_of("measure"), stage_record(result=m, seconds=2.0))
        base = replace(measured("fp32", "eager", 0, 1, 1, baseline=key, eager=key), latency_ms=8.0)
        of_baseline = replace(stage_of("measure"), parent=key)
        lines.finished(of_baseline, stage_record(result=base, seconds=2.0))
        lines.finished(stage_of("measure"), stage_record(result=m, seconds=2.0))
    first, second, third = [line.partition("thread: ")[2] for line in log.getvalue().splitlines()[1:]]
    assert first == told
    assert second.startswith("8.00 ms, 1.000× ")
    assert third == f"{significant(8.0 / m.against_eager.speedup)} ms, {told}"


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
    assert "0/7 stages · 2 running · 5 waiting · 0:00" in shown
    assert (
        "training small_cnn · digits · dense, from scratch · seed 0 · epoch 3/12 · val 50.0 % · threshold 0.25 ·"
        in shown
    )
    assert "compressing small_cnn · digits · magnitude 0.5 · fp32 · eager · seed 0 · 0:00" in shown
    assert "1/7 stages · 1 running · 5 waiting" in plain(screen)


def test_on_a_narrow_terminal_what_changes_is_shown_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    screen = Terminal()
    trained = replace(
        stage_of("train"), label="torchvision:mobilenet_v3_large · imagefolder:photos.zip · random 0.5 · seed 2"
    )
    states = dict(zip(PENDING, ["pending", "failed", "skipped", "done", *["pending"] * 3], strict=True))
    with watcher_for(screen) as bar:
        bar.planned(PLAN, states)
        bar.started(trained)
        bar.epoch(trained, EpochRecord(epoch=13, train_loss=1, val_loss=1, val_accuracy=0.5, threshold=0.25), 120)
        bar.live.refresh()
        lines = plain(screen).replace("\r", "\n").splitlines()
    # A terminal echoes ^C behind the last line, and must not have to wrap it.
    assert max(map(len, lines)) <= 78
    shown = next(line for line in reversed(lines) if "training" in line)
    assert re.fullmatch(r"  training ….*0\.5 · seed 2 · epoch 13/120 · val 50\.0 % · threshold 0\.25 · 0:00 *", shown)
    head = next(line for line in reversed(lines) if "stages" in line)
    assert re.search(r"3/7 stages · 1 running · 3 waiting · 1 failed · 1 skipped · 0:00", head)


def test_of_a_label_that_is_too_long_the_middle_goes():
    assert fitted("timing a · b", " · 0:01", 30) == "timing a · b · 0:01"
    assert fitted("training a-long-name · digits · seed 2", " · 0:01", 30) == "training …gits · seed 2 · 0:01"
    assert fitted("training a-long-name", " · 0:01", 12) == "trai… · 0:01"


def test_of_a_run_that_was_stopped_no_bar_is_left_that_seems_to_run():
    stopped, ended = Terminal(), Terminal()
    with contextlib.suppress(KeyboardInterrupt), watcher_for(stopped) as bar:
        bar.planned(PLAN, PENDING)
        raise KeyboardInterrupt
    with watcher_for(ended) as bar:
        bar.planned(PLAN, PENDING)
    # The last that is written goes up and erases, line by line.
    assert re.search(r"(\x1b\[1A\x1b\[2K)+$", stopped.getvalue())
    assert not re.search(r"\x1b\[2K$", ended.getvalue()), "of a run that came to its end the last state stays"


def test_networks_that_are_timed_together_have_one_line():
    screen = Terminal()
    with watcher_for(screen) as bar:
        bar.planned(PLAN, PENDING)
        bar.started(stage_of("measure"))
        bar.together([stage_of("measure")])
        bar.live.refresh()
    assert "timing 1 networks together · batch 1 · threads 1 · 0:00" in plain(screen)
    assert "timing small_cnn" not in plain(screen)


def test_networks_that_are_timed_together_show_where_their_session_stands():
    screen = Terminal()
    with watcher_for(screen) as bar:
        bar.planned(PLAN, PENDING)
        bar.timed([stage_of("measure")], "process 1 of 6, round 1 of 9")  # Before its line is there, nothing is shown.
        bar.started(stage_of("measure"))
        bar.together([stage_of("measure")])
        bar.timed([stage_of("measure")], "process 2 of 6, round 5 of 9")
        bar.live.refresh()
    assert "timing 1 networks together · batch 1 · threads 1 · process 2 of 6, round 5 of 9 · 0:00" in plain(screen)
    assert "process 1 of 6" not in plain(screen)


@pytest.mark.parametrize("screen", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_what_a_person_should_know_is_said_as_it_is(screen):
    with watcher_for(screen) as watcher:
        watcher.planned(PLAN, PENDING)
        watcher.timed([stage_of("measure")], "process 2 of 6, round 5 of 9")
        watcher.noted("These 24 networks take at least 74 s to time.")
    assert "These 24 networks take at least 74 s to time.\n" in plain(screen)
    assert "process 2 of 6" not in plain(screen)


def test_a_terminal_shows_where_the_timing_of_files_stands_on_one_line_that_goes_away_and_what_is_to_be_known():
    screen = Terminal()
    with SessionLine("timing 2 files, 60 s at most", screen) as line:
        line.step("process 2 of 6, round 5 of 9")
        line._live.refresh()
        line.note("These 2 files take at least 74 s to time.")
    assert "sparsebench: timing 2 files, 60 s at most · process 2 of 6, round 5 of 9 · 0:00" in plain(screen)
    assert "sparsebench: These 2 files take at least 74 s to time.\n" in plain(screen)


def test_a_log_says_that_files_are_timed_and_not_every_round():
    log = io.StringIO()
    with SessionLine("timing 2 files, 60 s at most", log) as line:
        line.step("process 2 of 6, round 5 of 9")
        line.note("These 2 files take at least 74 s to time.")
    assert log.getvalue() == (
        "sparsebench: timing 2 files, 60 s at most …\nsparsebench: These 2 files take at least 74 s to time.\n"
    )


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


class Course:
    """A sweep of a network that is trained for 100 epochs and pruned in 5, whose stages end as they are told to."""

    def __init__(self, *overrides):
        sweep = ["seeds=0", "thresholds=0,0.5,0.9", "schemes=fp32,static", "measure.batch_sizes=1"]
        training = ["train.epochs=5", "train.dense_epochs=100", "train.start_from=dense"]
        settings = [*sweep, *training, "train.dense_control=as_trained", *overrides]
        self.stages = make_plan(load_config(None, settings), FACTS).stages
        self.tally = Tally()
        self.tally.planned(self.stages, dict.fromkeys((stage.key for stage in self.stages), "pending"))
        self.ended = set()

    def end(self, kind, seconds, words="", status="done", count=1):
        """End the next stages of a kind whose labels have the words in them."""
        fitting = [s for s in self.stages if s.kind == kind and words in s.label and s.key not in self.ended]
        for stage in fitting[:count]:
            self.ended.add(stage.key)
            self.tally.finished(stage, stage_record(stage=kind, seconds=seconds, status=status, failure=WHY))

    @property
    def left(self):
        return self.tally.seconds_left()


WHY = Failure(error="Error", message="why", traceback="")
UNTIMED = "measure.batch_sizes=[]"


def test_the_time_left_is_unknown_until_each_kind_of_stage_has_run_once():
    course = Course(UNTIMED)
    course.end("train", 200.0, "dense")
    course.end("compress", 1.0)
    assert course.left is None
    course.end("evaluate", 3.0)
    assert course.left == pytest.approx(2 * 5 * 2.0 + 5 * 1.0 + (6 + 5) * 3.0)


def test_networks_that_are_pruned_in_few_epochs_are_not_expected_to_take_as_long_as_the_dense_one():
    course = Course(UNTIMED, "schemes=fp32")
    course.end("train", 200.0, "dense")
    course.end("compress", 0.0)
    course.end("evaluate", 0.0)
    assert course.left == pytest.approx(2 * 10.0)
    course.end("train", 15.0, "magnitude 0.5")  # Pruning takes time too, as is now known.
    assert course.left == pytest.approx(15.0)


def test_schemes_are_expected_to_take_as_long_as_their_own_did():
    course = Course(UNTIMED)
    course.end("train", 0.0, count=3)
    course.end("evaluate", 0.0, count=12)
    course.end("compress", 1.0, "fp32")
    course.end("compress", 20.0, "static")
    assert course.left == pytest.approx(2 * 1.0 + 2 * 20.0)


def test_a_checkpoint_that_was_loaded_says_nothing_of_how_long_training_takes():
    course = Course(UNTIMED, "model.weights=dense.pt")
    course.end("train", 0.5, "dense")
    course.end("compress", 1.0)
    course.end("evaluate", 1.0)
    assert course.left is None
    course.end("train", 10.0)
    assert course.left == pytest.approx(10.0 + 5 + (6 + 5))


def test_what_failed_says_nothing_of_how_long_it_takes():
    course = Course(UNTIMED, "schemes=fp32")
    course.end("train", 200.0, "dense")
    course.end("compress", 0.1, status="failed")
    course.end("evaluate", 1.0)
    assert course.left is None


def test_several_jobs_share_the_time_left_but_for_timing_which_runs_alone():
    course = Course("schemes=fp32")
    course.tally.slots = 4
    course.end("train", 200.0, "dense")
    course.end("compress", 0.0, count=3)
    course.end("evaluate", 8.0)
    course.end("measure", 3.0)
    assert course.left == pytest.approx((2 * 10.0 + (3 + 2) * 8.0) / 4 + 2 * 3.0)


def test_timing_that_has_never_run_is_expected_to_last_as_long_as_it_may():
    overrides = ["measure.batch_sizes=1,32", "measure.seconds_cap=20"]
    found, stages = Tally(), make_plan(load_config(None, overrides), FACTS).stages
    found.planned(stages, {stage.key: "pending" if stage.kind == "measure" else "done" for stage in stages})
    assert found.seconds_left() == pytest.approx(2 * 20)


def test_stages_are_counted_by_where_they_stand():
    tally = Tally()
    states = dict(zip(PENDING, ["done", "failed", "skipped", *["pending"] * 4], strict=True))
    tally.planned(PLAN.stages, states)
    tally.running.add(PLAN.stages[3].key)
    assert str(tally) == "3/7 stages · 1 running · 3 waiting · 1 failed · 1 skipped"
    tally.finished(PLAN.stages[3], stage_record(status="failed"))
    tally.end(PLAN.stages[4], "skipped")
    assert str(tally) == "5/7 stages · 2 waiting · 2 failed · 2 skipped"


def test_times_read_as_minutes_and_seconds():
    assert (clock(5), clock(65), clock(3725)) == ("0:05", "1:05", "1:02:05")
