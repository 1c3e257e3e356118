"""What a dry run tells of a sweep: how much there is to do, and how long it takes."""

import pytest
from plans import plan
from sweeps import tiny

from sparsebench.cli.rehearsed import Effort, effort_text
from sparsebench.runner.rehearsal import Pace
from sparsebench.runner.sequencer import check_sweep

PLAN = plan(
    *("seeds=0", "thresholds=0,0.5", "schemes=fp32,static", "train.epochs=3"),
    *("measure.batch_sizes=1,32", "measure.seconds_cap=20"),
)
PENDING = {stage.key: "pending" for stage in PLAN.stages}
PACE = {("small_cnn", "digits"): Pace(step=0.1, batch=0.2, start=5.0, batches={"train": 10, "val": 2, "test": 5})}


def test_it_counts_what_is_left_and_adds_up_how_long_it_takes():
    effort = Effort.of(PLAN, PENDING, PACE)
    # Dense, its control and one sparse network, each 3 epochs of 10 steps and 2 batches of validation.
    assert effort.seconds["train"] == pytest.approx(3 * (5 + 3 * (10 * 0.1 + 2 * 0.2)))
    # Calibration reads as many batches as there are; half a second is what a conversion takes beside.
    assert effort.seconds["compress"] == pytest.approx(4 * 0.5 + 2 * 10 * 0.2)
    assert effort.seconds["evaluate"] == pytest.approx(4 * (2 + 5) * 0.2), "on validation and on test"
    assert effort.seconds["measure"] == 2 * 20
    assert effort_text(effort) == (
        "To do: 3 trainings (9 epochs), 4 conversions, 8 evaluations, 2 timing sessions (8 latencies).\n"
        "Takes about 1:19 here: training 0:28, conversion 0:06, evaluation 0:06, timing 0:40 at most."
    )


def test_several_jobs_share_all_but_timing():
    effort = Effort.of(PLAN, PENDING, PACE)
    assert (
        "Takes about 1:00 here: training 0:14, conversion 0:03, evaluation 0:03, timing 0:40 at most."
        in effort_text(effort, jobs=2)
    )


def test_what_is_done_takes_no_more_time():
    trained = {stage.key: "done" if stage.kind == "train" else "pending" for stage in PLAN.stages}
    assert effort_text(Effort.of(PLAN, trained, PACE)).startswith("To do: 4 conversions, 8 evaluations, 2 timing")
    assert effort_text(Effort.of(PLAN, dict.fromkeys(PENDING, "done"), {})) == "Nothing is left to do."


def test_without_a_pace_only_the_longest_time_of_timing_is_told():
    assert effort_text(Effort.of(PLAN, PENDING, {})).endswith(
        "Timing takes 0:40 at most. How long the rest takes is told where one batch is checked and trained."
    )


def test_a_checkpoint_is_no_training_and_fake_quantization_is_one():
    found = plan("seeds=0", "thresholds=0.5", "schemes=qat", "model.weights=dense.pt", "measure.batch_sizes=[]")
    effort = Effort.of(found, {stage.key: "pending" for stage in found.stages}, PACE)
    assert (effort.counts["train"], effort.epochs) == (1, 12)
    assert effort.seconds["train"] == pytest.approx(5 + 12 * 1.4)
    assert effort.seconds["compress"] == pytest.approx(0.5 + 2 * 3 * 1.4)


def test_the_pace_of_a_network_is_told_from_its_own_batches(tmp_path):
    (pace,) = check_sweep(tiny("train.batch_size=64"), tmp_path / "tiny").values()
    # 1077, 360 and 360 digits; the last training batch is dropped, for it is not whole.
    assert pace.batches == {"train": 16, "val": 6, "test": 6}
    assert 0 < pace.step < 5
    assert 0 <= pace.batch < 5
