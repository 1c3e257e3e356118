"""Differences of any numbers and of replicates: checked against t intervals, counts and simulation."""

import numpy as np
import pytest
from scipy import stats

from sparsebench.statistics.differences import (
    from_covariance,
    from_replicates,
    from_samples,
    of_independent,
    paired,
    variance_of,
)
from sparsebench.statistics.resamples import counted, drawn, over_groups, percentiles

RNG = np.random.default_rng(3)


def test_a_column_of_numbers_has_the_interval_and_p_value_of_a_paired_t_test():
    found = RNG.normal(0.2, 1, 40)
    these, other = from_samples(found[:, None])
    expected = stats.ttest_1samp(found, 0).confidence_interval()
    assert np.allclose(these.limits(), expected)
    assert other is None
    assert float(these.p_value()) == pytest.approx(stats.ttest_1samp(found, 0).pvalue, abs=0.01)


def test_columns_that_do_not_differ_have_no_error_and_a_p_value_of_1():
    these, other = from_samples(np.zeros((30, 3)))
    assert np.allclose(these.limits(), 0)
    assert float(these.p_value()) == float(other.p_value()) == 1.0


def test_of_zeros_and_ones_it_is_nearly_what_counts_give():
    flags = (RNG.random((2000, 3)) < 0.1).astype(int) - (RNG.random((2000, 3)) < 0.05)
    counts = paired(2000, flags.sum(0), flags.T @ flags)
    for one, other in zip(from_samples(flags), counts, strict=True):
        assert np.allclose(one.limits(), other.limits(), atol=3e-4)


def test_two_sides_are_compared_as_their_difference_where_trainings_have_nothing_in_common():
    values = RNG.normal(size=(500, 1)) + 0.1 * RNG.normal(size=(500, 6))
    these, other = from_samples(values, sides=2)
    difference, _ = from_samples((values[:, :3].mean(1) - values[:, 3:].mean(1))[:, None])
    assert float(these.centre) == pytest.approx(float(difference.centre))
    assert float(these.variance) == pytest.approx(float(difference.variance))
    assert other.freedom == 4


def test_replicates_of_a_mean_tell_what_its_samples_tell():
    values = RNG.normal(size=(400, 1)) + 0.3 * RNG.normal(size=(400, 3))
    resampled = np.concatenate([weights @ values / 400 for weights in counted(400, 2000)])
    for one, other in zip(from_replicates(values.mean(0), resampled), from_samples(values), strict=True):
        assert np.allclose(one.limits(), other.limits(), atol=0.01)


def test_another_training_covers_the_mean_over_seeds_and_samples():
    hits, rng = 0, np.random.default_rng(5)
    for _ in range(400):
        table = rng.normal(size=(80, 1)) + rng.normal(0, 0.2, (1, 3)) + 0.5 * rng.normal(size=(80, 3))
        low, high = from_samples(table)[1].limits()
        hits += low <= 0 <= high
    assert hits >= 372  # 93 %


def test_one_sample_tells_nothing_and_one_that_is_the_same_tells_that():
    assert np.isinf(from_samples([[1.0, 2.0]])[0].limits()).all()
    assert np.allclose(from_samples([[0.0]])[0].limits(), 0)


def test_without_an_interval_nothing_is_proved():
    found = of_independent([3.0, 1.0], [variance_of(2.9, 3.1), variance_of(None, None)], [1, -1])
    assert np.isinf(found.limits()).all()
    assert float(found.p_value()) == 1.0
    known = of_independent([3.0, 1.0], [variance_of(2.9, 3.1)] * 2, [1, -1])
    assert np.allclose(known.limits(), (2 - np.hypot(0.1, 0.1), 2 + np.hypot(0.1, 0.1)))


def test_less_than_nothing_by_rounding_is_nothing():
    these, _ = from_covariance([1.0, 1.0], [[1.0, 1.0 + 1e-12], [1.0 + 1e-12, 1.0]], sides=2)
    assert float(these.variance) >= 0


def test_fewer_resamples_are_the_first_of_more_and_depend_on_the_number_of_units_alone():
    assert all(np.array_equal(a, b) for a, b in zip(drawn(20, 3), drawn(20, 9), strict=False))
    assert np.array_equal(np.concatenate(list(counted(20, 5))).sum(1), [20] * 5)
    assert np.array_equal(next(counted(7, 1))[0], np.bincount(next(drawn(7, 1)), minlength=7))


def test_groups_are_counted_and_percentiles_hold_the_value():
    places, groups = over_groups([5, 5, 9, 2])
    assert (places.tolist(), groups) == ([1, 1, 2, 0], 3)
    assert percentiles([1.0, 2.0, 3.0], 9.0)[1] == 9.0
