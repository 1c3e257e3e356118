"""Intervals for accuracies and their differences, for these networks and for another training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm, t

from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.statistics.differences import Estimate, averaged, paired, unpaired


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_limits(successes, n, low, high):
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def of_table(columns, sides=1):
    """Both estimates from a table of whole numbers, samples × columns."""
    table = np.asarray(columns)
    return paired(len(table), table.sum(axis=0), table.T @ table, sides)


def of_counts(first_only, second_only, samples):
    return of_table([[1]] * first_only + [[-1]] * second_only + [[0]] * (samples - first_only - second_only))[0]


def numbers(estimate):
    return tuple(map(float, estimate.limits()))


# -- one seed ----------------------------------------------------------------------------------------------------------


def test_of_one_seed_the_interval_is_the_published_one_of_the_fourfold_table():
    # Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009), as worked out in
    # Fagerland, Lydersen and Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions",
    # for the interval of Bonett and Price.
    assert numbers(of_counts(1, 7, 21)) == pytest.approx((-0.508, -0.013), abs=5e-4)


def test_of_one_seed_the_interval_follows_its_formula_by_hand():
    lost, won = (6 + 1) / 62, (2 + 1) / 62
    reach = 1.959964 * ((lost + won - (lost - won) ** 2) / 62) ** 0.5
    assert numbers(of_counts(6, 2, 60)) == pytest.approx((lost - won - reach, lost - won + reach))


def test_one_seed_says_nothing_about_another_training():
    assert of_table([[1], [0], [-1]])[1] is None


def test_exchanging_the_two_networks_turns_the_interval_round():
    low, high = numbers(of_counts(12, 5, 400))
    assert numbers(of_counts(5, 12, 400)) == pytest.approx((-high, -low))


def test_networks_that_agree_on_every_sample_still_have_an_interval_and_nothing_to_prove():
    found = of_counts(0, 0, 360)
    assert numbers(found) == pytest.approx((-0.00766, 0.00766), abs=1e-5)
    assert found.p_value() == 1.0


def test_the_interval_of_one_seed_covers_the_truth_about_95_times_in_100():
    random = np.random.default_rng(0)
    tables = random.multinomial(300, (0.05, 0.03, 0.92), size=4000)
    sums, squares = tables[:, 0] - tables[:, 1], tables[:, 0] + tables[:, 1]
    low, high = paired(300, sums[:, None], squares[:, None, None])[0].limits()
    assert 0.94 < np.mean((low <= 0.02) & (high >= 0.02)) < 0.97


def test_shares_of_independent_samples_have_the_published_interval():
    # Agresti and Caffo 2000: 56 of 70 and 48 of 80 become 57 of 72 and 49 of 82.
    first, second = 57 / 72, 49 / 82
    reach = 1.959964 * (first * (1 - first) / 72 + second * (1 - second) / 82) ** 0.5
    found = unpaired([56, 48], [70, 80], [1, -1])
    assert numbers(found) == pytest.approx((first - second - reach, first - second + reach))


def test_pairing_narrows_the_interval_of_networks_that_mostly_agree():
    alone = unpaired([370, 364], [400, 400], [1, -1])
    assert of_counts(10, 4, 400).reach() < 0.6 * alone.reach()


# -- several seeds -----------------------------------------------------------------------------------------------------


def random_table(random, samples=200, seeds=3, spread=0.0):
    chances = np.clip(0.05 + spread * random.standard_normal(seeds), 0, 0.1)
    hard = random.random(samples) < 0.3
    lost = random.random((samples, seeds)) < np.where(hard, 2.0, 0.1)[:, None] * chances
    won = random.random((samples, seeds)) < 0.02
    return lost.astype(int) - (won & ~lost)


def test_the_parts_of_the_variance_are_those_of_the_two_way_layout():
    table = random_table(np.random.default_rng(1), spread=0.02)
    n, seeds = table.shape
    these, other = of_table(table)
    means = table.mean(axis=1)
    # Two samples are added to the means, one that was lost and one that was gained.
    more = np.append(means, [1, -1])
    assert (these.centre, these.variance) == pytest.approx((more.mean(), more.var() / (n + 2)))
    rest = table - means[:, None] - table.mean(axis=0) + table.mean()
    both = (rest**2).sum() / ((n - 1) * (seeds - 1)) / (n * seeds)
    assert other.spread == pytest.approx(table.mean(axis=0).var(ddof=1) / seeds)
    assert other.shared == pytest.approx(these.variance - both)
    assert other.freedom == 2


def test_two_sets_of_trainings_are_a_two_sample_comparison():
    random = np.random.default_rng(2)
    before, after = (random.random((300, 3)) < 0.9 for _ in range(2))
    _, other = of_table(np.hstack([before, after]).astype(int), sides=2)
    spread = (before.mean(axis=0).var(ddof=1) + after.mean(axis=0).var(ddof=1)) / 3
    assert (other.spread, other.freedom) == (pytest.approx(spread), 4)


def test_seeds_that_lose_the_same_samples_prove_no_more_than_one():
    lost = np.repeat([1] * 8 + [-1] + [0] * 191, 3).reshape(-1, 3)
    these, other = of_table(lost)
    assert numbers(these) == pytest.approx(numbers(of_table(lost[:, :1])[0]))
    assert other.spread == 0
    assert numbers(other) == pytest.approx(numbers(these))


def test_without_a_known_share_of_samples_more_seeds_narrow_nothing_but_the_spread():
    one = unpaired([380, 370], [400, 400], [1, -1])
    these, other = averaged([one] * 3, [[0.02, 0.03, 0.025]])
    assert these.reach() == pytest.approx(one.reach())
    assert other.reach() > these.reach()
    assert averaged([one], [[0.025]])[1] is None


estimates = st.builds(
    Estimate,
    st.floats(-1, 1).map(np.asarray),
    *[st.floats(1e-9, 1e-2).map(np.asarray)] * 2,
    st.floats(0, 1e-2).map(np.asarray),
    st.sampled_from([0, 1, 2, 4, 8]),
)


@given(estimates)
@settings(max_examples=300, deadline=None)
def test_a_p_value_never_contradicts_its_interval(found):
    low, high = found.limits()
    assert bool(found.p_value() <= 0.05 + 1e-12) == bool(low > 0 or high < 0)


@pytest.mark.parametrize(("centre", "freedom"), [(0.01, 2), (0.03, 2), (-0.02, 4), (0.004, 1), (0.05, 8)])
def test_a_p_value_is_the_error_at_which_the_interval_ends_at_zero(centre, freedom):
    found = Estimate(*map(np.asarray, (centre, 5e-5, 4e-5, 2e-5)), freedom)

    def ends_at(error):
        squares = norm.ppf(1 - error / 2) ** 2 * 4e-5 + t.ppf(1 - error / 2, freedom) ** 2 * 2e-5
        return squares**0.5 - abs(centre)

    assert found.p_value() == pytest.approx(brentq(ends_at, 1e-12, 1), rel=1e-6)
    assert found.reach(float(found.p_value())) == pytest.approx(abs(centre))


@pytest.mark.parametrize("spread", [0.0, 0.007, 0.02])
def test_the_interval_over_another_training_covers_what_another_training_brings(spread):
    random = np.random.default_rng(3)
    tables = np.stack([random_table(random, samples=400, spread=spread) for _ in range(600)])
    found = paired(400, tables.sum(axis=1), np.einsum("rns,rnt->rst", tables, tables))
    truth = np.mean([random_table(random, samples=4000, seeds=100, spread=spread).mean() for _ in range(20)])
    these, other = (np.mean(np.abs(truth - one.centre) <= one.reach()) for one in found)
    assert other > 0.93
    if spread > 0.01:
        assert these < 0.9  # It does not speak about other trainings.
