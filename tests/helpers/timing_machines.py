"""Machines that exist only as numbers: their clock passes when one of their calls says so, or they are arrays."""

import math

import numpy as np
from torch import nn

from sparsebench.statistics.processes import (
    Estimate,
    noise_within,
    of_copies,
    over_processes,
    weights_of,
    within_process,
)
from sparsebench.timing import compare
from sparsebench.timing.schedule import COPIES
from sparsebench.timing.session import MOST_PROCESSES, PROCESSES

BURST_MS = 15.0
"""How long a burst of other work lasts in the mean."""


class Machine:
    """A machine with a clock, on which calls take about as long as they say.

    Attributes:
        now: nanoseconds that have passed.
        placed: names of the networks that were placed anew in memory, in that order.
        ran: each network object that was called, with its name.
    """

    def __init__(self, seed, noise=0.0, drift=0.0, bursts=0.0, places=0.0, session_s=60.0):
        """``noise`` and ``places``: standard deviations in log units of a call, and from place to place in memory.

        ``drift``: by how much the machine's speed wanders in ``session_s`` seconds. ``bursts``: share of the time in
        which other work makes calls slower, by half on average.
        """
        self.now = 0
        self.placed, self.ran = [], {}
        self.random = np.random.default_rng(seed)
        self.places = places
        self._phase = self.random.uniform(0, 2 * math.pi)
        self._noise, self._drift, self._bursts, self._session_s = noise, drift, bursts, session_s
        self._burst_ends, self._burst_factor = 0, 1.0

    def clock(self):
        return self.now

    def spend(self, milliseconds):
        """Let a call pass."""
        factor = 1 + self._drift * math.sin(2 * math.pi * self.now / 1e9 / self._session_s + self._phase) / 2
        if self._noise:
            factor *= math.exp(self._noise * self.random.standard_normal())
        if self._bursts:
            factor *= self._burst(milliseconds)
        self.now += round(milliseconds * 1e6 * factor)

    def _burst(self, milliseconds):
        if self.now >= self._burst_ends and self.random.random() < self._bursts * milliseconds / BURST_MS:
            self._burst_ends = self.now + self.random.exponential(BURST_MS) * 1e6
            self._burst_factor = 1 + self.random.exponential(0.5)
        return self._burst_factor if self.now < self._burst_ends else 1.0

    def call(self, milliseconds, first=1.0):
        """Return a function that takes so long, and ``first`` times as long at first."""
        factors = iter([first])
        return lambda: self.spend(milliseconds * next(factors, 1.0))

    def network(self, name, milliseconds, load_ms=0.0):
        """Return a network that takes so long, a little more or less in each place, and ``load_ms`` to be placed."""
        return Network(self, name, milliseconds, load_ms)


class Network(nn.Module):
    """A network of a machine."""

    def __init__(self, machine, name, milliseconds, load_ms=0.0):
        super().__init__()
        self.machine, self.name, self.milliseconds, self.load_ms = machine, name, milliseconds, load_ms
        self.factor = math.exp(machine.places * machine.random.standard_normal())

    def __deepcopy__(self, memo):
        self.machine.placed.append(self.name)
        self.machine.spend(self.load_ms)
        return Network(self.machine, self.name, self.milliseconds, self.load_ms)

    def forward(self):
        self.machine.ran[self] = self.name
        self.machine.spend(self.milliseconds * self.factor)


def compared(machine, milliseconds, load_ms=0.0, **settings):
    """Compare networks that take so long on a machine; the first one is the baseline."""
    networks = {name: machine.network(name, value, load_ms) for name, value in milliseconds.items()}
    return compare(networks, baseline=next(iter(networks)), inputs=(), clock=machine.clock, **settings)


def sessions(
    random,
    count,
    networks,
    *,
    truth=0.0,
    places=0.005,
    noise=0.02,
    bursts=0.0,
    disturbed=0.0,
    rounds=8,
    precision=0.006,
):
    """Return the intervals of many sessions that stop early where all of them are narrow: controls, and the rest.

    Args:
        random: a generator of numpy.
        count: sessions.
        networks: of each, beside the baseline's copies.
        truth: their log speedup.
        places: standard deviation from process to process, in log units.
        noise: standard deviation from block to block.
        bursts: share of blocks that other work makes slower, by up to twice.
        disturbed: share of processes in which it makes two blocks in five slower, by half or more.
        rounds: of each process.
        precision: half-width of the intervals at which a session stops.
    """
    log_latencies = np.zeros(COPIES + networks)
    log_latencies[COPIES:] -= truth
    shape = (count, MOST_PROCESSES, 1, len(log_latencies))
    blocks = log_latencies + places * random.standard_normal(shape)
    blocks = blocks + noise * random.standard_normal((*shape[:2], rounds, shape[-1]), dtype=np.float32)
    if bursts:
        blocks += (random.random(blocks.shape) < bursts) * random.uniform(0, 0.7, blocks.shape)
    if disturbed:
        slow = (random.random((*shape[:2], 1, 1)) < disturbed) & (random.random(blocks.shape) < 0.4)
        blocks += slow * random.uniform(0.4, 0.7, blocks.shape)
    noise = noise_within(blocks, range(COPIES))
    logs = np.moveaxis(within_process(blocks, range(COPIES)), 1, -1)  # (sessions, networks, processes)
    looks = []
    for processes in (PROCESSES, MOST_PROCESSES):
        seen, weights = logs[..., :processes], weights_of(noise[:, :processes])[:, None]
        copies, found = (
            of_copies(seen[:, :COPIES], 0.01, weights),
            over_processes(seen[:, COPIES:], networks, 0.01, weights),
        )
        looks.append((copies, found))
    precise = np.all([((one.high - one.low) / 2 < precision).all(axis=1) for one in looks[0]], axis=0)[:, None]
    return [
        Estimate(*(np.where(precise, a, b) for a, b in zip(*pair, strict=True))) for pair in zip(*looks, strict=True)
    ]
