"""Machines that exist only as numbers: their clock passes when one of their calls says so, or they are arrays."""

import math

import numpy as np

from sparsebench.statistics.ratios import Estimate, is_precise, median_interval, sign_test
from sparsebench.timing.schedule import BASELINE, draw_order, log_ratios

DRIFT = 0.2
"""The machine's speed wanders by so much during a session."""

BURSTS = 0.05
"""So many blocks are hit by other work, which makes them slower by half on average."""

PAIRED = math.sqrt(1.5)
"""Standard deviation of a block against the mean of two others, in that of one block."""


class Machine:
    """A machine with a clock, on which calls take about as long as they say.

    Attributes:
        now: nanoseconds that have passed.
        noise: standard deviation of the paired log ratio of calls.
    """

    def __init__(self, seed, noise=0.0, drift=0.0, bursts=0.0, session_s=60.0):
        self.now = 0
        self._random = np.random.default_rng(seed)
        self._phase = self._random.uniform(0, 2 * math.pi)
        self._noise, self._drift, self._bursts, self._session_s = noise / PAIRED, drift, bursts, session_s

    def clock(self):
        return self.now

    def call(self, milliseconds, first=1.0):
        """Return a function that takes so long, and ``first`` times as long at first."""
        factors = iter([first])

        def run():
            slow = 1 + self._drift * math.sin(2 * math.pi * self.now / 1e9 / self._session_s + self._phase) / 2
            noise = self._noise * self._random.standard_normal() if self._noise else 0.0
            if self._bursts and self._random.random() < self._bursts:
                slow *= 1 + self._random.exponential(0.5)
            self.now += round(milliseconds * 1e6 * slow * math.exp(noise) * next(factors, 1.0))

        return run


def simulated_blocks(random, sessions, rounds, items, noise, ratios=1.0):
    """Return latencies and orders of blocks, both of shape (sessions, rounds, blocks)."""
    pattern = draw_order(items, random)
    variants = random.permuted(np.broadcast_to(np.arange(1, items + 1), (sessions, rounds, items)), axis=-1)
    order = np.full((sessions, rounds, len(pattern)), BASELINE)
    order[..., pattern != BASELINE] = variants
    time = np.linspace(0, 1, rounds * len(pattern)).reshape(rounds, len(pattern))
    phase, cycles = random.uniform(0, 2 * np.pi, (sessions, 1, 1)), random.uniform(0.5, 3, (sessions, 1, 1))
    drift = 1 + DRIFT / 2 * np.sin(2 * np.pi * cycles * time + phase)
    hit = random.random(order.shape) < BURSTS
    burst = 1 + hit * random.exponential(0.5, order.shape)
    truth = np.concatenate([[1.0], np.broadcast_to(ratios, items)])[order]
    return truth * drift * burst * np.exp(noise / PAIRED * random.standard_normal(order.shape)), order


def finished_sessions(random, sessions, items, noise, ratios=1.0, looks=((24, 3), (48, 6)), precision=0.01):
    """Return the estimates and p-values of sessions that stop at the first look that finds them precise.

    Args:
        looks: rounds and generations at each look.
    """
    latencies, order = simulated_blocks(random, sessions, looks[-1][0], items, noise, ratios)
    paired = np.moveaxis(log_ratios(latencies, order), 1, 2)  # (sessions, variants, rounds, 2)
    generations = np.arange(looks[-1][0]) * looks[0][1] // looks[0][0]
    result, p_values, going_on = None, None, np.ones(sessions, bool)
    for rounds, _ in looks:
        now = median_interval(paired[:, :, :rounds], generations[:rounds])
        p_now = sign_test(paired[:, :, :rounds])
        if result is None:
            result, p_values = now, p_now
        else:
            result = Estimate(*(np.where(going_on[:, None], a, b) for a, b in zip(now, result, strict=True)))
            p_values = np.where(going_on[:, None], p_now, p_values)
        going_on = going_on & ~is_precise(now, precision)
    return result, p_values, going_on
