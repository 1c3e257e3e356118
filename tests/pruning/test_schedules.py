import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparsebench.pruning import GradualPruning, Magnitude, sparsity
from sparsebench.pruning.schedules import constant, cubic, linear, one_shot
from sparsebench.registry import SCHEDULES

every_schedule = pytest.mark.parametrize("schedule", [linear, cubic, constant, one_shot])
thresholds = st.floats(0, 1, exclude_max=True)
progresses = st.floats(0, 1, exclude_min=True)


@every_schedule
@given(threshold=thresholds)
def test_the_end_is_exactly_the_threshold(schedule, threshold):
    assert schedule(1.0, threshold) == threshold


@every_schedule
@given(threshold=thresholds, progress=progresses)
def test_sparsity_is_never_above_the_threshold_nor_below_zero(schedule, threshold, progress):
    assert 0 <= schedule(progress, threshold) <= threshold


@every_schedule
@given(threshold=thresholds, one=progresses, other=progresses)
def test_sparsity_never_falls(schedule, threshold, one, other):
    assert schedule(min(one, other), threshold) <= schedule(max(one, other), threshold)


def test_linear_grows_evenly_from_one_percent():
    assert linear(1e-9, 0.81) == pytest.approx(0.01)
    assert linear(0.5, 0.81) == pytest.approx(0.41)


def test_a_threshold_below_one_percent_is_used_at_once():
    assert linear(0.1, 0.005) == cubic(0.1, 0.005) == 0.005


def test_cubic_follows_zhu_and_gupta():
    assert cubic(1e-9, 0.81) == pytest.approx(0.01)
    assert cubic(0.5, 0.81) == pytest.approx(0.81 - 0.8 * 0.125)


def test_constant_prunes_from_the_first_step():
    assert constant(1e-6, 0.9) == 0.9


def test_one_shot_prunes_once_the_phase_ends():
    assert one_shot(0.999, 0.9) == 0.0


def test_every_registered_schedule_can_be_loaded():
    assert [SCHEDULES.load(name)(1.0, 0.5) for name in SCHEDULES] == [0.5] * len(SCHEDULES)


def test_pruning_is_due_at_its_steps_at_the_end_of_the_phase_and_of_epochs():
    gradual = GradualPruning(Magnitude(), linear, threshold=0.5, phase=7, every=3)
    due = [step for step in range(1, 13) if gradual.due(step, end_of_epoch=step % 5 == 0)]
    assert due == [3, 5, 6, 7, 9, 10, 12]
    assert [step for step in range(1, 13) if gradual.complete(step)] == [7, 8, 9, 10, 11, 12]


def test_zeros_are_set_back_after_the_phase():
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 2))
    gradual = GradualPruning(Magnitude(), one_shot, threshold=0.5, phase=2)
    found = []
    for step in range(1, 5):
        with torch.no_grad():
            net[0].weight.add_(0.01)
        gradual.after_step(net, step, end_of_epoch=False)
        found.append(sparsity(net))
    assert found == [0.0, 0.5, 0.5, 0.5]
