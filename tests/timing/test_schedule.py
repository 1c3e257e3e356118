"""The order of a round, the size of its blocks, and how one block is timed."""

import numpy as np
import pytest

from sparsebench.timing import blocks
from sparsebench.timing.blocks import time_block, time_cold_block, touching_ns, warm_up
from sparsebench.timing.schedule import BlockSize, Step, block_size, draw_order, settling_calls


@pytest.mark.parametrize("networks", [4, 5, 24])
def test_a_round_holds_every_network_once(networks):
    assert sorted(draw_order(networks, np.random.default_rng(0)).tolist()) == list(range(networks))


def test_orders_are_random_and_come_back_with_their_seed():
    orders = [draw_order(21, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_a_step_reads_as_a_display_shows_it():
    assert str(Step(0, 6)) == "starting 6 processes"
    assert str(Step(2, 6, 5, 9)) == "process 2 of 6, round 5 of 9"


@pytest.mark.parametrize(("call_ms", "expected"), [(0.01, 150), (1, 2), (3, 1), (10, 0), (800, 0)])
def test_a_network_settles_for_a_moment_before_its_block_unless_one_call_fills_it(call_ms, expected):
    assert settling_calls(call_ms * 1e6, 10e6) == expected


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


@pytest.fixture
def touched(monkeypatch):
    """A cache that counts how often it is emptied, which takes 7 ns."""
    ticking = Ticking(5)
    ticking.touched = []

    def touch():
        ticking.touched.append(ticking.calls)
        ticking.now += 7

    monkeypatch.setattr(blocks, "_touch", touch)
    return ticking


def test_a_cold_block_empties_the_caches_before_each_call_and_does_not_count_that(touched):
    taken = time_cold_block(touched.call, BlockSize(units=4, calls=1), touched.clock)
    assert touched.touched == [0, 1, 2, 3]
    assert taken.tolist() == [5.0] * 4


def test_what_emptying_the_caches_takes_is_known_after_a_first_time(touched):
    assert touching_ns(touched.clock) == 7
    assert len(touched.touched) == 2


def test_emptying_the_caches_writes_memory_as_large_as_the_largest_of_them(monkeypatch):
    monkeypatch.setattr(blocks, "largest_cache_bytes", lambda: 80)
    blocks._other_memory.cache_clear()
    before = blocks._other_memory().copy()
    blocks._touch()
    after = blocks._other_memory()
    blocks._other_memory.cache_clear()
    assert after.nbytes == 80
    assert (after != before).all()
