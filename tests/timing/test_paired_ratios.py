"""The statistics of paired timing: against simple ways to get the same, and on simulated machines whose truth is known.

Noise is that of 50 ms blocks as measured on a shared two-core machine: a robust standard deviation of the paired log
ratio of 1.1 % (one thread), 1.5 % (two threads) and 6.5 % (two threads beside a busy neighbour). On top of it every
machine drifts by 20 % during a session, and one block in twenty is hit by other work.
"""

import numpy as np
import pytest
import timing_machines
from scipy.stats import binomtest
from timing_machines import finished_sessions, simulated_blocks

from sparsebench.statistics.ratios import ERROR_LEVEL, is_precise, median_interval, sign_test
from sparsebench.statistics.verdicts import Verdict, fewest_rounds, holm, is_valid, verdict
from sparsebench.timing.schedule import BASELINE, log_ratios

NOISES = (0.011, 0.015, 0.065)
SWEEP = ((21, 3), (24, 4))
"""Looks of a session of 20 networks within the 45 seconds that a sweep gives it: rounds and generations."""


def verdicts_of(estimate, p_values, band=0.01):
    """Return verdicts of shape (sessions, variants); the first item is the control."""
    ratio, low, high = (np.exp(part[:, 1:]) for part in estimate)
    columns = (part.reshape(-1) for part in (ratio, low, high, holm(p_values[:, 1:])))
    return np.array([verdict(*row, band) for row in zip(*columns, strict=True)]).reshape(ratio.shape)


def test_the_computed_bootstrap_is_what_drawing_many_times_gives():
    random = np.random.default_rng(0)
    ratios = random.standard_t(3, (24, 2))
    generations = np.repeat([0, 1, 2], 8)
    draws = (random.integers(0, 8, (20_000, 3, 8)) + np.array([[[0], [8], [16]]])).reshape(20_000, 24)
    middle = np.sort(ratios[draws].reshape(20_000, 48), axis=1)[:, 23:25]  # the lower and the upper median
    ranked = np.sort(ratios, axis=None)
    mid = [((middle < ratio).mean() + (middle <= ratio).mean()) / 2 for ratio in ranked]
    estimate = median_interval(ratios, generations, error=0.1)
    assert estimate.centre == np.median(ratios)
    # A tail of 5 % is expanded to one of 3.29 % for 24 rounds of three generations: Φ(1.7207 √(24/21)).
    assert np.interp(estimate.low, ranked, mid) == pytest.approx(0.0329, abs=0.004)
    assert np.interp(estimate.high, ranked, mid) == pytest.approx(1 - 0.0329, abs=0.004)


@pytest.mark.parametrize("rounds", [9, 24, 47])
def test_an_interval_mirrors_and_shifts_with_its_data(rounds):
    ratios = np.random.default_rng(1).normal(size=(rounds, 2))
    generations = np.arange(rounds) % 3
    plain, mirrored = median_interval(ratios, generations), median_interval(-ratios, generations)
    shifted = median_interval(ratios + 5, generations)
    assert (mirrored.low, mirrored.high) == (pytest.approx(-plain.high), pytest.approx(-plain.low))
    assert (shifted.low, shifted.high) == (pytest.approx(plain.low + 5), pytest.approx(plain.high + 5))
    assert plain.low <= plain.centre <= plain.high


def test_many_variants_at_once_are_the_same_as_one_after_another():
    ratios = np.random.default_rng(2).normal(size=(3, 4, 15, 2))
    generations = np.repeat([0, 1, 2], 5)
    together = median_interval(ratios, generations)
    for place in np.ndindex(3, 4):
        assert together.low[place] == median_interval(ratios[place], generations).low


def test_generations_that_differ_do_not_widen_the_interval_by_their_difference():
    ratios = np.random.default_rng(3).normal(scale=0.01, size=(24, 2))
    generations = np.repeat([0, 1, 2], 8)
    apart = ratios + np.repeat([-1.0, 0.0, 1.0], 8)[:, None]
    within, across = median_interval(apart, generations), median_interval(apart, [0] * 24)
    assert within.high - within.low < 0.1 < across.high - across.low


def test_equal_rounds_have_an_interval_without_width():
    estimate = median_interval(np.full((12, 2), 0.5), [0, 1, 2] * 4)
    assert (estimate.low, estimate.centre, estimate.high) == (0.5, 0.5, 0.5)
    assert is_precise(median_interval(np.full((1, 12, 2), 0.5), [0, 1, 2] * 4), 0.01)


def test_the_sign_test_counts_rounds_on_which_both_neighbours_agree():
    agreeing, disagreeing = np.full((10, 2), 0.1), np.array([[0.1, -0.1]] * 14)
    assert sign_test(agreeing) == pytest.approx(2 / 2**10)
    assert sign_test(np.concatenate([agreeing, disagreeing])) == pytest.approx(2 / 2**10)
    assert sign_test(disagreeing) == 1
    assert sign_test(np.zeros((5, 2))) == 1


@pytest.mark.parametrize("variants", [1, 3, 20, 41, 1000])
def test_the_fewest_rounds_that_can_decide_are_those_of_a_binomial_test_with_one_round_against_it(variants):
    rounds = fewest_rounds(variants + 1)
    p_values = [binomtest(1, n).pvalue * variants for n in (rounds - 1, rounds)]
    assert p_values[1] <= 0.01 < p_values[0]


def test_a_burst_of_other_work_does_not_outvote_the_rounds_of_a_faster_variant():
    faster = np.random.default_rng(1).normal(-0.2, 0.01, (20, 2))
    on_the_variant, on_a_neighbour = faster.copy(), faster.copy()
    on_the_variant[:4] += 0.6
    on_a_neighbour[:4, 0] -= 0.6
    assert sign_test(faster) == sign_test(on_a_neighbour) == pytest.approx(2 / 2**20)
    assert sign_test(on_the_variant) == pytest.approx(2 / 2**16)


def test_copies_on_a_machine_full_of_bursts_have_p_values_no_smaller_than_they_should_be(monkeypatch):
    monkeypatch.setattr(timing_machines, "BURSTS", 0.15)
    for rounds in (24, 96):
        latencies, order = simulated_blocks(np.random.default_rng(11), 400, rounds, 10, 0.015)
        p_values = sign_test(np.moveaxis(log_ratios(latencies, order), 1, 2))
        for level in (0.001, 0.01, 0.05):
            allowed = level + 3 * np.sqrt(level / p_values.size)
            assert (p_values <= level).mean() <= allowed, (rounds, level)


def test_holm_gives_the_published_steps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    ("ratio", "low", "high", "p", "expected"),
    [
        (0.90, 0.89, 0.91, 0.001, Verdict.FASTER),
        (1.10, 1.09, 1.11, 0.001, Verdict.SLOWER),
        (1.10, 1.09, 1.11, 0.2, Verdict.INCONCLUSIVE),  # not among so many variants
        (1.00, 0.995, 1.005, 1.0, Verdict.EQUIVALENT),
        (0.996, 0.993, 0.999, 0.001, Verdict.EQUIVALENT),  # faster, by what does not matter
        (0.99, 0.985, 0.995, 0.001, Verdict.FASTER),
        (0.992, 0.986, 0.998, 0.001, Verdict.INCONCLUSIVE),  # faster for certain, by what may not matter
        (1.00, 0.98, 1.02, 1.0, Verdict.INCONCLUSIVE),
    ],
)
def test_verdicts(ratio, low, high, p, expected):
    assert verdict(ratio, low, high, p, band=0.01) is expected


def test_a_control_is_invalid_only_where_it_lies_beyond_the_band():
    assert is_valid(1.005, 1.02, band=0.01)
    assert not is_valid(1.011, 1.02, band=0.01)
    assert not is_valid(0.9, 0.98, band=0.01)


@pytest.mark.parametrize("noise", [0.008, *NOISES, 0.02])
def test_intervals_cover_the_truth_in_95_percent_of_sessions_that_stop_when_they_like(noise):
    # 0.8 % always stops at the first look, 6.5 % never; in between is where stopping could do harm.
    estimate, _, _ = finished_sessions(np.random.default_rng(4), 1500, 1, noise, ratios=0.9)
    covered = ((estimate.low <= np.log(0.9)) & (np.log(0.9) <= estimate.high)).mean()
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("noise", NOISES)
def test_twenty_copies_of_the_baseline_are_rarely_called_different(noise):
    estimate, p_values, _ = finished_sessions(np.random.default_rng(5), 150, 21, noise, looks=SWEEP)
    verdicts = verdicts_of(estimate, p_values)
    different = (verdicts == Verdict.FASTER) | (verdicts == Verdict.SLOWER)
    assert different.any(axis=1).mean() <= 0.02
    invalid = [
        not is_valid(low, high, 0.01) for low, high in np.exp(np.stack([estimate.low, estimate.high])[:, :, 0].T)
    ]
    assert np.mean(invalid) <= 0.05


@pytest.mark.parametrize(("noise", "power"), [(0.011, 0.97), (0.015, 0.8)])
def test_a_difference_of_two_percent_is_found_among_twenty_variants(noise, power):
    ratios = np.array([1.0] + [0.98, 1.02] * 10)
    estimate, p_values, _ = finished_sessions(np.random.default_rng(6), 100, 21, noise, ratios, looks=SWEEP)
    verdicts = verdicts_of(estimate, p_values)
    assert (verdicts[:, 0::2] == Verdict.FASTER).mean() >= power
    assert (verdicts[:, 1::2] == Verdict.SLOWER).mean() >= power


def test_a_noisy_machine_gives_no_verdict_rather_than_a_wrong_one():
    ratios = np.array([1.0] + [0.98, 1.02] * 10)
    estimate, p_values, _ = finished_sessions(np.random.default_rng(7), 100, 21, 0.065, ratios, looks=SWEEP)
    verdicts = verdicts_of(estimate, p_values)
    assert (verdicts == Verdict.INCONCLUSIVE).mean() > 0.9
    assert not (verdicts[:, 0::2] == Verdict.SLOWER).any()


def test_medians_taken_one_after_the_other_are_wrong_more_often():
    """The same blocks in the same number: half of a session for one variant, the other half for the other."""
    random, sessions, rounds = np.random.default_rng(8), 500, 24
    latencies, order = simulated_blocks(random, sessions, rounds, 1, 0.011)
    variant_blocks = (order != BASELINE).sum(axis=(1, 2))[0]
    # Both variants are the same here: what comes early and late in the session stands for one and the other.
    flat = latencies.reshape(sessions, -1)
    unpaired = np.log(np.median(flat[:, :variant_blocks], axis=1) / np.median(flat[:, -variant_blocks:], axis=1))
    estimate, _, _ = finished_sessions(np.random.default_rng(8), sessions, 1, 0.011, looks=((24, 3),))
    paired_wrong = (np.abs(estimate.centre[:, 0]) > 0.01).mean()
    unpaired_wrong = (np.abs(unpaired) > 0.01).mean()
    assert paired_wrong < 0.02
    assert unpaired_wrong > 0.5


def test_skewed_noise_makes_no_copy_look_faster():
    # Bursts only ever slow down. Against the mean of both neighbours, which are hit twice as often, copies would win.
    estimate, _, _ = finished_sessions(np.random.default_rng(9), 2000, 1, 0.011, looks=((24, 3),))
    error = estimate.centre.std() / np.sqrt(estimate.centre.size)
    assert abs(estimate.centre.mean()) < 3 * error


def test_the_level_of_one_look_keeps_half_a_point_back_for_stopping():
    assert pytest.approx(0.045) == ERROR_LEVEL
