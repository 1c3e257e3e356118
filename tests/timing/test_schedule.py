"""The order of a round, the pairing of its blocks and their size."""

import numpy as np
import pytest

from sparsebench.timing.blocks import time_block, warm_up
from sparsebench.timing.schedule import BASELINE, SEGMENT, BlockSize, block_size, draw_order, log_ratios, segments


@pytest.mark.parametrize("items", [1, 2, 5, 12, 13, 21, 50])
def test_a_round_is_complete_and_never_far_from_a_baseline(items):
    order = draw_order(items, np.random.default_rng(0)).tolist()
    assert sorted(number for number in order if number != BASELINE) == list(range(1, items + 1))
    assert order[0] == order[-1] == BASELINE
    assert order.count(BASELINE) >= 3
    gaps = np.diff([place for place, number in enumerate(order) if number == BASELINE])
    assert gaps.max() <= SEGMENT + 1
    assert sum(segments(items)) == items


def test_orders_are_random_and_come_back_with_their_seed():
    orders = [draw_order(21, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_twenty_variants_fit_into_a_minute():
    blocks = len(draw_order(21, np.random.default_rng(0)))
    assert blocks == 26
    assert blocks * 0.05 * 24 == pytest.approx(31.2)  # seconds of blocks until the first look


def test_a_block_is_compared_with_the_baselines_beside_it():
    #        B    2    B    1    B
    order = [0, 2, 0, 1, 0]
    ratios = log_ratios([1.0, 6.0, 2.0, 8.0, 4.0], order)
    assert np.exp(ratios) == pytest.approx(np.array([[4.0, 2.0], [6.0, 3.0]]))


def test_rounds_of_different_orders_are_paired_at_once():
    random = np.random.default_rng(0)
    orders = np.stack([draw_order(5, random) for _ in range(4)])
    latencies = random.uniform(1, 2, orders.shape)
    together = log_ratios(latencies, orders)
    assert together.shape == (4, 5, 2)
    for number in range(4):
        assert together[number] == pytest.approx(log_ratios(latencies[number], orders[number]))


def test_a_steady_machine_gives_exact_ratios_wherever_blocks_stand():
    order = draw_order(21, np.random.default_rng(3))
    truth = np.linspace(1, 2, 22)
    assert np.exp(log_ratios(truth[order], order)) == pytest.approx(np.repeat(truth[1:, None], 2, axis=1))


@pytest.mark.parametrize(
    ("call_ms", "expected"),
    [(0.001, BlockSize(500, 100)), (1, BlockSize(50, 1)), (17, BlockSize(3, 1)), (800, BlockSize(1, 1))],
)
def test_a_block_has_the_fewest_calls_that_last_long_enough(call_ms, expected):
    assert block_size(call_ms * 1e6, 50e6) == expected


class Ticking:
    """A clock that its own calls advance by the given nanoseconds, the last of them for ever."""

    def __init__(self, *steps):
        self.now, self.steps, self.calls = 0, steps, 0

    def call(self):
        self.now += self.steps[min(self.calls, len(self.steps) - 1)]
        self.calls += 1

    def clock(self):
        return self.now


def test_slow_first_calls_do_not_size_the_block():
    ticking = Ticking(10**10, 10**8, 10**6)
    assert warm_up(ticking.call, ticking.clock, 50e6) == 10**6


def test_a_runtime_that_gets_faster_while_it_is_warmed_up_is_given_another_block():
    steady, tuning = Ticking(10**6), Ticking(10**8, *[4 * 10**6] * 8, 10**6)
    assert warm_up(steady.call, steady.clock, 50e6) == warm_up(tuning.call, tuning.clock, 50e6) == 10**6
    assert steady.calls == 1 + 50
    assert tuning.calls == 1 + 8 + 18 + 50  # after 50 ms its second half was four times as fast as its first


def test_one_that_never_settles_is_timed_nevertheless():
    restless = Ticking(*(10**6 * (1 + n) for n in range(1000)))
    warm_up(restless.call, restless.clock, 50e6)
    assert restless.now < 8 * 50e6


def test_a_slow_call_is_warmed_up_by_four_calls():
    ticking = Ticking(10**9)
    assert warm_up(ticking.call, ticking.clock, 50e6) == 10**9
    assert ticking.calls == 4


def test_a_block_times_units_and_divides_by_their_calls():
    ticking = Ticking(1, 2, 3, 4, 5, 6, 100)
    assert time_block(ticking.call, BlockSize(units=2, calls=3), ticking.clock, 7).tolist() == [2.0, 5.0]


@pytest.mark.parametrize("foreseen", [1, 2, 5, 20])
def test_a_block_lasts_as_long_whatever_the_warm_up_foresaw(foreseen):
    quiet, busy = Ticking(12), Ticking(24)
    assert len(time_block(quiet.call, BlockSize(foreseen, 1), quiet.clock, 50)) == 5
    assert len(time_block(busy.call, BlockSize(foreseen, 1), busy.clock, 50)) == 3


def test_a_clock_that_stands_still_ends_no_block_later_than_eight_times_what_was_foreseen():
    still = Ticking(0)
    assert len(time_block(still.call, BlockSize(10, 1), still.clock, 50)) == 80


def test_a_block_is_summed_up_by_its_median_because_a_burst_leaves_it_alone():
    ticking = Ticking(*[1000] * 10, *[9000] * 4, 1000)
    taken = time_block(ticking.call, BlockSize(units=50, calls=1), ticking.clock, 82_000)
    assert len(taken) == 50
    assert np.median(taken) == 1000 < 1.5 * 1000 < np.mean(taken)
