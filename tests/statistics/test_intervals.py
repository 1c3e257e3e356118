"""Intervals for accuracies and their differences."""

import numpy as np
import pytest

from sparsebench.statistics.accuracy import paired_difference, unpaired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_limits(successes, n, low, high):
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("first", "n_first", "second", "n_second", "low", "high"),
    [(56, 70, 48, 80, 0.0524, 0.3339), (9, 10, 3, 10, 0.1705, 0.8090), (5, 56, 0, 29, -0.0381, 0.1926)],
)
def test_the_unpaired_interval_gives_the_published_limits(first, n_first, second, n_second, low, high):
    # Newcombe 1998, "Interval estimation for the difference between independent proportions", table II, method 10.
    assert unpaired_difference(first, n_first, second, n_second) == pytest.approx((low, high), abs=5e-5)


def test_the_paired_interval_gives_the_published_limits():
    # Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009), as worked out in
    # Fagerland, Lydersen and Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions".
    assert paired_difference(1, 1, 7, 12) == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_the_paired_interval_follows_its_formula_by_hand():
    # a, b, c, d = 40, 6, 2, 12: φ = (480 - 12 - 30) / sqrt(46 · 14 · 42 · 18) = 438 / 697.75
    phi = 438 / (46 * 14 * 42 * 18) ** 0.5
    (l1, u1), (l2, u2) = wilson(46, 60), wilson(42, 60)
    p1, p2 = 46 / 60, 42 / 60
    below = ((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2) ** 0.5
    above = ((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2) ** 0.5
    assert paired_difference(40, 6, 2, 12) == pytest.approx((4 / 60 - below, 4 / 60 + above))


def test_exchanging_the_two_networks_turns_the_interval_round():
    low, high = paired_difference(340, 12, 5, 43)
    assert paired_difference(340, 5, 12, 43) == pytest.approx((-high, -low))


@pytest.mark.parametrize("table", [(20, 0, 0, 0), (0, 0, 0, 20), (0, 20, 0, 0), (0, 0, 20, 0), (1, 0, 0, 0)])
def test_extreme_tables_give_limits_within_one(table):
    low, high = paired_difference(*table)
    assert -1.0 <= low <= (table[1] - table[2]) / sum(table) <= high <= 1.0


def test_pairing_narrows_the_interval_of_networks_that_mostly_agree():
    paired, unpaired = paired_difference(360, 10, 4, 26), unpaired_difference(370, 400, 364, 400)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_the_paired_interval_covers_the_truth_about_95_times_in_100():
    chances = np.array([0.88, 0.05, 0.03, 0.04])
    tables = np.random.default_rng(0).multinomial(300, chances, size=2000)
    hits = sum(low <= 0.02 <= high for low, high in (paired_difference(*map(int, table)) for table in tables))
    assert 0.935 < hits / len(tables) < 0.98
