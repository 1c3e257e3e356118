"""What makes one copy of a network look faster than others: its place in memory, its share of blocks, or the estimate.

Fresh processes time twelve copies of ResNet-20 with the blocks of the product. Arms differ in what is done to the first
copy; they take turns, in a random order. Its advantage within a process is the mean over the other copies of the median
over rounds of the log latency of theirs minus its own, so that 0 is what it is in truth.
"""

import multiprocessing
import os
import random as dice
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import State, locked
from numpy.typing import NDArray
from timing_nets import image, resnet

from sparsebench.statistics.processes import within_process
from sparsebench.timing.bench import Bench, built
from sparsebench.timing.machine import idlest_cores
from sparsebench.timing.schedule import Settings
from sparsebench.timing.variants import Built, Variant

COPIES = 12
PROCESSES = 10
SECONDS = 8.0

MEANS = (2, 4)
"""Copies whose mean latency one copy is compared with, instead of each by itself."""


@dataclass(frozen=True)
class Arm:
    """What is done to the first copy.

    Attributes:
        name: what the page calls it.
        loaded_first: whether it is loaded, and warmed up, before the others; otherwise the order is random.
        every_second: whether it has every second block; otherwise one of each round, as the others.
    """

    name: str
    loaded_first: bool
    every_second: bool


ARMS = (
    Arm("all places alike", False, False),
    Arm("loaded first", True, False),
    Arm("every second block", False, True),
    Arm("loaded first, every second block", True, True),
)


def run(state: State, lock: Path | None, processes: int = PROCESSES, seconds: float = SECONDS) -> None:
    """Time the processes that are not done."""
    have = {(one["arm"], one["number"]) for one in state.of("causes")}
    for number in range(processes):
        for arm in dice.Random(number).sample(ARMS, len(ARMS)):  # noqa: S311 - dice, no secrets
            if (arm.name, number) in have:
                continue
            # Another seed for each process, so that no two arms share their orders.
            seed = number * len(ARMS) + ARMS.index(arm)
            fresh = multiprocessing.get_context("spawn")
            with locked(lock), ProcessPoolExecutor(1, mp_context=fresh) as pool:
                found = pool.submit(timed, arm, seed, seconds).result()
            state.add("causes", {"arm": arm.name, "number": number, **found})
            told = f"{found['advantage']:+.2%} in {found['rounds']} rounds"
            print(f"causes, {arm.name}, process {number}: {told}", flush=True)


def timed(arm: Arm, seed: int, seconds: float) -> dict[str, Any]:
    """Return the advantage of the first copy; runs in a process of its own."""
    random = np.random.default_rng(seed)
    torch.set_num_interop_threads(1)
    settings = Settings()
    loading = random.permutation(COPIES).tolist()
    if arm.loaded_first:
        loading = [0, *(number for number in loading if number != 0)]
    variants = [partial(Variant, f"copy {number}", Built(resnet), image(32)) for number in range(COPIES)]
    calls = built(variants, loading, settings)
    cores = idlest_cores(settings.threads)
    if cores is not None:
        os.sched_setaffinity(0, cores)
    bench = Bench.warmed_up(calls, settings)
    rounds: list[NDArray[np.float64]] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(rounds) < 2:
        order = _order(arm, random)
        logs = np.log(bench.round(order).latencies_ms)
        rounds.append(logs if arm.every_second else logs[np.argsort(order)])
        if arm.every_second:
            # Shape (others, before and after), in the numbers' order.
            apart = logs[1::2, None] - np.stack([logs[:-1:2], logs[2::2]], axis=-1)
            rounds[-1] = apart[np.argsort(order[1::2])]
    measured = np.stack(rounds)
    if arm.every_second:
        return {"advantage": float(np.median(measured, axis=(0, 2)).mean()), "rounds": len(rounds)}
    speedups = within_process(measured, range(COPIES))
    found: dict[str, Any] = {"advantage": float(speedups[0]), "rounds": len(rounds)}
    if not arm.loaded_first:
        found |= {f"mean of {count}": beside_means(measured, count, random) for count in MEANS}
    return found


def _order(arm: Arm, random: np.random.Generator) -> NDArray[np.int_]:
    if not arm.every_second:
        return random.permutation(COPIES)
    order = np.zeros(2 * COPIES - 1, dtype=int)
    order[1::2] = random.permutation(COPIES - 1) + 1
    return order


def beside_means(logs: NDArray[np.float64], count: int, random: np.random.Generator, draws: int = 200) -> float:
    """Return by how much copies look faster beside the mean latency of several others; 0 in truth.

    Each of the draws takes all copies in a random order in a ring, and compares each with those that follow it. So each
    copy is compared as often as it is compared with, and where each pair is compared by itself the mean is exactly 0.

    Args:
        logs: shape (rounds, copies).
        count: how many others.
        random: draws the rings.
        draws: how many rings.
    """
    found = []
    for _ in range(draws):
        ring = logs[:, random.permutation(logs.shape[-1])]
        others = np.mean([np.exp(np.roll(ring, -step, axis=-1)) for step in range(1, count + 1)], axis=0)
        found.append(np.median(np.log(others) - ring, axis=0).mean())
    return float(np.mean(found))


def with_and_without(pieces: Sequence[dict[str, Any]], cause: str) -> tuple[list[float], list[float]]:
    """Return the advantages in the arms that have a cause, and in those that do not; each has as many of the other."""
    by_arm = {arm: [one["advantage"] for one in pieces if one["arm"] == arm.name] for arm in ARMS}
    parts = [
        [value for arm in ARMS if getattr(arm, cause) is there for value in by_arm[arm]] for there in (True, False)
    ]
    return parts[0], parts[1]
