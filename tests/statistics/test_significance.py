"""How speedups change between sessions, against independent references and by simulation."""

import math

import numpy as np
import pytest
from scipy.stats import sem, ttest_ind

from sparsebench.statistics.ratios import log_ratio, unpaired_change


def test_the_change_between_sessions_is_welchs_test_over_worker_processes():
    before, after = [0.50, 0.52, 0.49, 0.51, 0.50, 0.53], [0.55, 0.58, 0.54]
    expected = ttest_ind(np.log(after), np.log(before), equal_var=False)
    found = unpaired_change([log_ratio(before)], [log_ratio(after)])
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    limits = expected.confidence_interval(0.95)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((limits.low, limits.high), rel=1e-6)


def test_the_ratio_of_a_session_is_the_mean_over_its_processes_with_the_variance_of_that_mean():
    found = log_ratio((0.5, 0.55, 0.6, 0.45))
    logs = np.log([0.5, 0.55, 0.6, 0.45])
    assert found == pytest.approx((logs.mean(), sem(logs) ** 2, 3))


@pytest.mark.parametrize("by_process", [(), (0.5,), (0.5, 0.0), (0.5, -1.0)])
def test_of_one_process_nothing_is_known_of_how_processes_differ(by_process):
    assert log_ratio(by_process) is None


def test_a_process_that_counts_for_nothing_is_as_if_it_had_not_been():
    assert log_ratio([0.5, 0.55, 0.6, 9.0], [1 / 3] * 3 + [0.0]) == pytest.approx(log_ratio([0.5, 0.55, 0.6]))


def test_seeds_are_averaged():
    one, two = log_ratio([0.50, 0.51, 0.49]), log_ratio([0.60, 0.61, 0.59])
    found = unpaired_change([one, one], [two, two])
    assert found.ratio == pytest.approx(math.exp(two.log_ratio - one.log_ratio))
    alone = unpaired_change([one], [two])
    assert math.log(found.high / found.low) < math.log(alone.high / alone.low)


def test_two_sessions_that_saw_the_same_are_no_change():
    same = log_ratio((0.5, 0.5, 0.5))
    assert unpaired_change([same], [same]) == (1.0, 1.0, 1.0, 1.0)


def test_the_interval_between_sessions_covers_the_truth_although_processes_differ():
    random = np.random.default_rng(2)

    def session(centre):
        return log_ratio(tuple(centre * np.exp(random.normal(0, 0.02, 6))))

    found = [unpaired_change([session(0.5)], [session(0.5)]) for _ in range(1500)]
    assert 0.94 < np.mean([change.low <= 1 <= change.high for change in found]) <= 0.97
    assert np.mean([change.p_value <= 0.05 for change in found]) < 0.06
