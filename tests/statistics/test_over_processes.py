"""Speedups over processes, against independent references and on simulated sessions whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from timing_machines import sessions

from sparsebench.statistics.processes import (
    freedom_of,
    noise_within,
    of_copies,
    over_processes,
    resolution,
    weights_of,
    within_process,
)
from sparsebench.statistics.verdicts import ERROR_LEVEL, Verdict, verdict

BAND = 0.01


def test_a_network_is_compared_with_each_reference_round_by_round():
    random = np.random.default_rng(0)
    logs = random.normal(size=(3, 9, 6))  # processes, rounds, networks
    found = within_process(logs, range(4))
    for process in range(3):
        rounds = logs[process]
        for network in (4, 5):
            medians = [np.median(rounds[:, copy] - rounds[:, network]) for copy in range(4)]
            assert found[process, network] == pytest.approx(np.mean(medians))
        others = [np.median(rounds[:, copy] - rounds[:, 2]) for copy in (0, 1, 3)]
        assert found[process, 2] == pytest.approx(np.mean(others)), "a copy is compared with the other copies"


def test_what_slows_a_whole_round_counts_with_no_network():
    logs = np.random.default_rng(1).normal(size=(9, 6))
    slower = logs + np.linspace(0, 3, 9)[:, None]
    assert within_process(slower, range(4)) == pytest.approx(within_process(logs, range(4)))


def test_a_single_reference_is_compared_with_nothing():
    logs = np.random.default_rng(2).normal(size=(5, 3))
    assert within_process(logs, [1])[1] == 0


@pytest.mark.parametrize(("processes", "networks"), [(2, 1), (6, 1), (6, 23), (18, 100)])
def test_intervals_are_students_over_processes_joint_after_bonferroni(processes, networks):
    logs = np.random.default_rng(3).normal(0.1, 0.02, (4, processes))
    found = over_processes(logs, networks, BAND)
    for row, low, high, centre in zip(logs, found.low, found.high, found.centre, strict=True):
        expected = stats.t.interval(1 - 0.045 / networks, processes - 1, loc=row.mean(), scale=stats.sem(row))
        assert (low, high) == pytest.approx(expected)
        assert centre == pytest.approx(row.mean())


@pytest.mark.parametrize("shift", [0.0, 0.02, -0.02])
def test_the_p_value_is_that_of_two_t_tests_against_the_edges_of_the_band(shift):
    row = np.random.default_rng(4).normal(shift, 0.01, 7)
    edge = math.log(1.01)
    above = stats.ttest_1samp(row, edge, alternative="greater").pvalue
    below = stats.ttest_1samp(row, -edge, alternative="less").pvalue
    found = over_processes(row, 5, BAND)
    assert float(found.p_value) == pytest.approx(min(1, 2 * 5 * min(above, below)))


def test_the_intervals_of_copies_have_the_residual_of_a_two_way_layout():
    random = np.random.default_rng(5)
    copies, processes, rounds = 4, 6, 7
    # Copies that have a latency of their own in each process, and processes that are faster and slower.
    latencies = random.normal(0, 0.02, (processes, 1, copies)) + random.normal(0, 0.3, (processes, 1, 1))
    logs = np.broadcast_to(latencies, (processes, rounds, copies))
    found = of_copies(within_process(logs, range(copies)).T, BAND)
    cells = latencies[:, 0, :]
    residuals = cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()
    freedom = (copies - 1) * (processes - 1)
    variance = (residuals**2).sum() / freedom
    # A copy beside the mean of the three others: its own latency, less a third of each of theirs.
    deviation = math.sqrt(variance * (1 + 1 / (copies - 1)) / processes)
    reach = stats.t.ppf(1 - 0.045 / (2 * copies), freedom) * deviation
    means = cells.mean(axis=0)
    centre = np.array([np.delete(means, copy).mean() - means[copy] for copy in range(copies)])
    assert found.centre == pytest.approx(centre)
    assert found.high - found.centre == pytest.approx(np.full(copies, reach))
    assert found.centre - found.low == pytest.approx(np.full(copies, reach))


def test_weights_give_the_interval_of_a_weighted_regression_with_hc2_errors():
    random = np.random.default_rng(12)
    logs, weights = random.normal(0.1, 0.02, 8), random.dirichlet(np.full(8, 2.0))
    found = over_processes(logs, 3, BAND, weights)
    # By matrices, as for any weighted least squares: a column of ones is the only regressor.
    ones, w = np.ones((8, 1)), np.diag(weights)
    bread = np.linalg.inv(ones.T @ w @ ones)
    hat = ones @ bread @ ones.T @ w
    residuals = logs - hat @ logs
    meat = ones.T @ w @ np.diag(residuals**2 / (1 - np.diag(hat))) @ w @ ones
    variance = float((bread @ meat @ bread).item())
    # Degrees of freedom: eigenvalues of the quadratic form where variances are 1 / w.
    form = (np.eye(8) - hat).T @ np.diag(weights**2 / (1 - np.diag(hat))) @ (np.eye(8) - hat)
    values = np.linalg.eigvals(form @ np.diag(1 / weights)).real
    freedom = values.sum() ** 2 / (values**2).sum()
    assert freedom_of(weights) == pytest.approx(freedom)
    centre, reach = float(weights @ logs), stats.t.ppf(1 - 0.045 / 6, freedom) * math.sqrt(variance)
    assert [found.centre, found.low, found.high] == pytest.approx([centre, centre - reach, centre + reach])


def test_the_noise_of_a_process_is_the_variance_of_its_medians():
    random = np.random.default_rng(13)
    logs = 0.02 * random.standard_normal((300, 101, 5))
    spread = np.var([within_process(one, [0])[1:] for one in logs])
    assert noise_within(logs, [0]).mean() == pytest.approx(spread, rel=0.25)
    assert noise_within(3 * logs[0], [0]) == pytest.approx(9 * noise_within(logs[0], [0]))


def test_a_disturbed_process_counts_for_less_and_a_quiet_one_for_no_more_than_the_median_one():
    assert weights_of([1.0, 1.0, 1.0, 4.0]) == pytest.approx(np.array([4, 4, 4, 1]) / 13)
    assert weights_of([0.1, 1.0, 1.0]) == pytest.approx([1 / 3] * 3)
    assert weights_of([0.0, 0.0, 0.0]) == pytest.approx([1 / 3] * 3), "a clock that stands still tells no noise"
    assert weights_of([0.0, 0.0, 2.0]) == pytest.approx([0.5, 0.5, 0.0])


def test_on_a_machine_that_disturbs_some_processes_intervals_are_half_as_wide_as_without_weights():
    random = np.random.default_rng(14)
    blocks = 0.02 * random.standard_normal((300, 12, 8, 5))
    blocks += (random.random((300, 12, 1, 1)) < 0.25) * (random.random(blocks.shape) < 0.4) * 0.6
    logs = np.moveaxis(within_process(blocks, range(4)), -1, 1)[:, 4:]
    weights = weights_of(noise_within(blocks, range(4)))[:, None]
    alike, weighted = (over_processes(logs, 1, BAND, given) for given in (None, weights))
    assert (weighted.high - weighted.low).mean() < 0.5 * (alike.high - alike.low).mean()


def test_of_one_process_there_is_no_interval():
    for found in (over_processes([[0.1], [0.2]], 2, BAND), of_copies([[0.1], [-0.1]], BAND)):
        assert np.isinf(found.high).all()
        assert np.isinf(found.low).all()
        assert (found.p_value == 1).all()


def test_processes_that_agree_to_the_last_digit_have_an_interval_without_width():
    found = over_processes([[0.5] * 6, [0.0] * 6], 2, BAND)
    assert found.low.tolist() == found.high.tolist() == [0.5, 0.0]
    assert found.p_value.tolist() == [0, 1]


LOGS = st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=10)


@given(logs=LOGS, networks=st.integers(1, 50), band=st.floats(0.001, 0.1))
def test_a_p_value_is_below_the_error_level_where_the_interval_lies_beyond_the_band_and_only_there(
    logs, networks, band
):
    found = over_processes(logs, networks, band)
    edge = math.log1p(band)
    beyond = max(float(found.low) - edge, -edge - float(found.high))
    if abs(beyond) > 1e-9:  # At the edge itself, the last digits decide.
        assert (float(found.p_value) < ERROR_LEVEL) is (beyond > 0)


@given(half_width=st.floats(1e-4, 0.2), band=st.floats(0.001, 0.05), sign=st.sampled_from([1, -1]))
def test_a_difference_just_above_the_resolution_is_called_and_one_just_below_is_not(half_width, band, sign):
    smallest = math.log1p(resolution(half_width, band))
    calls = {1: Verdict.FASTER, -1: Verdict.SLOWER}
    for factor in (1.001, 0.999):
        centre = sign * smallest * factor
        found = verdict(math.exp(centre - half_width), math.exp(centre + half_width), band)
        assert (found is calls[sign]) is (factor > 1)


@pytest.mark.parametrize("networks", [1, 20])
@pytest.mark.parametrize(
    "machine",
    [
        {"places": 0.0},
        {"places": 0.005},
        {"places": 0.02},
        {"places": 0.0, "bursts": 0.2},
        {"places": 0.005, "disturbed": 0.25},
        {"truth": 0.05},
        {"truth": -0.05, "bursts": 0.2},
    ],
    ids=str,
)
def test_all_intervals_of_a_session_hold_in_93_percent_or_more_of_sessions_that_stop_when_they_like(machine, networks):
    count = 1000 if networks == 1 else 400
    _, found = sessions(np.random.default_rng(6), count, networks, **machine)
    truth = machine.get("truth", 0.0)
    held = ((found.low <= truth) & (truth <= found.high)).all(axis=1).mean()
    assert held >= 0.93 - (0.01 if count < 1000 else 0.0)


def test_copies_of_the_baseline_rarely_make_a_session_invalid():
    for places in (0.0, 0.005, 0.02):
        controls, _ = sessions(np.random.default_rng(7), 1000, 1, places=places)
        edge = math.log1p(BAND)
        assert ((controls.low > edge) | (controls.high < -edge)).any(axis=1).mean() <= 0.05


def verdicts_of(found):
    limits = zip(np.exp(found.low).ravel(), np.exp(found.high).ravel(), strict=True)
    return [verdict(low, high, BAND) for low, high in limits]


def test_a_difference_at_the_edge_of_the_band_is_called_in_few_sessions_and_one_of_three_percent_in_most():
    edge = verdicts_of(sessions(np.random.default_rng(8), 1000, 1, truth=math.log(1.01), places=0.005)[1])
    assert edge.count(Verdict.FASTER) / len(edge) <= 0.035
    large = verdicts_of(sessions(np.random.default_rng(9), 200, 20, truth=0.03, places=0.005)[1])
    assert large.count(Verdict.FASTER) / len(large) >= 0.9
    assert large.count(Verdict.SLOWER) == large.count(Verdict.EQUIVALENT) == 0


def test_medians_taken_one_after_the_other_in_one_process_are_wrong_more_often():
    """The same blocks, of networks that are the same: early ones against late ones, and over processes."""
    random = np.random.default_rng(10)
    drift = 1 + 0.1 * np.sin(np.linspace(0, 6, 600) + random.uniform(0, 2 * np.pi, (500, 1)))
    blocks = np.log(drift) + 0.02 * random.standard_normal(drift.shape) + 0.01 * random.standard_normal((500, 1))
    one_after_the_other = np.median(blocks[:, :300], axis=1) - np.median(blocks[:, 300:], axis=1)
    _, found = sessions(np.random.default_rng(10), 500, 1, places=0.01)
    assert (np.abs(one_after_the_other) > 0.02).mean() > 0.5
    assert (np.abs(found.centre) > 0.02).mean() < 0.01
