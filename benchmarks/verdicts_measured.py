"""Sessions of networks whose speedups are known, as ``sparsebench.timing.compare`` judges them on this machine."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import State, locked
from timing_nets import (
    REPEATS,
    busy_neighbour,
    busy_processes,
    image,
    inputs,
    mobilenet,
    repeated,
    resnet,
    write_mobilenet,
)

from sparsebench.timing import Built, Comparison, RoundRecord, compare
from sparsebench.timing.comparison import copies_of
from sparsebench.timing.machine import OtherWork
from sparsebench.timing.schedule import Settings

BASELINE, SLOWER = "baseline", "slower"

NETWORKS = 12
"""Copies in a session: a baseline and eleven that are compared with it."""

SIDE = 96
"""Pixels a side of what MobileNetV2 is fed."""

RESOLUTION, WANTED = 0.03, 0.025
"""Where the first session finds nothing below the one, the others get the time that brings it to the other."""

MOST_SECONDS = 600.0

RESAMPLES = 2000

Given = tuple[Mapping[str, Built], tuple[Any, ...]]
"""Variants, and what they are fed."""


def _quiet(seed: int) -> AbstractContextManager[None]:
    return nullcontext()


def _bursting(seed: int) -> AbstractContextManager[None]:
    return busy_neighbour(max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None, seed)


def _loaded(seed: int) -> AbstractContextManager[None]:
    return busy_processes(4)


@contextmanager
def _resnets() -> Iterator[Given]:
    yield {name: Built(resnet) for name in _names()}, image(32)


@contextmanager
def _mobilenets() -> Iterator[Given]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network")
        write_mobilenet(path, SIDE)
        yield {name: Built(partial(mobilenet, str(path)), None, path.stat().st_size) for name in _names()}, image(SIDE)


def _names() -> list[str]:
    return [BASELINE, *(f"copy {number}" for number in range(2, NETWORKS + 1))]


@contextmanager
def _more_work(share: float) -> Iterator[Given]:
    works = {BASELINE: REPEATS, SLOWER: round(REPEATS * (1 + share))}
    yield {name: Built(partial(repeated, times)) for name, times in works.items()}, inputs()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sessions that have everything in common but their number.

    Attributes:
        part: of the page.
        name: what the page calls them.
        made: makes the variants.
        beside: what goes on beside the session, by its number.
        sessions: how many there are.
        share: of more work that the slower network has; 0 for copies.
        least: in how many the slower network must be found; 0 for no target.
        threads: of the timed networks.
        adapts: whether the first session's resolution says how long the others may last.
    """

    part: str
    name: str
    made: Callable[[], AbstractContextManager[Given]]
    sessions: int
    beside: Callable[[int], AbstractContextManager[None]] = field(default=_quiet)
    share: float = 0.0
    least: int = 0
    threads: int = 1
    adapts: bool = False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing else of ours runs beside it."""
        return self.beside is _quiet


PLANS = (
    Plan(part="copies", name="ResNet-20, eager", made=_resnets, sessions=5),
    Plan(part="copies", name=f"MobileNetV2 at {SIDE} pixels, OpenVINO", made=_mobilenets, sessions=5),
    Plan(part="slower", name="5 %, quiet", made=partial(_more_work, 0.05), sessions=20, share=0.05, least=16),
    Plan(
        part="slower",
        name="5 %, beside a busy neighbour",
        made=partial(_more_work, 0.05),
        sessions=20,
        beside=_bursting,
        share=0.05,
        least=14,
    ),
    Plan(
        part="slower", name="3 %, quiet", made=partial(_more_work, 0.03), sessions=20, share=0.03, least=16, adapts=True
    ),
    Plan(
        part="threads",
        name="5 %, two threads, beside a busy neighbour",
        made=partial(_more_work, 0.05),
        sessions=10,
        beside=_bursting,
        share=0.05,
        threads=2,
    ),
    Plan(part="loaded", name="ResNet-20, eager, beside four busy processes", made=_resnets, sessions=3, beside=_loaded),
)


def run(part: str, state: State, lock: Path | None, seconds: float, sessions: int | None) -> None:
    """Carry out the sessions of a part that are not done; those of its plans take turns.

    Args:
        part: of the page.
        state: keeps them.
        lock: held during each session.
        seconds: the longest that a session may last, where no other time is asked for.
        sessions: how many of each plan; None for as many as are planned.
    """
    plans = [plan for plan in PLANS if plan.part == part]
    for number in range(max(plan.sessions for plan in plans)):
        for plan in plans:
            if number >= (plan.sessions if sessions is None else min(sessions, plan.sessions)):
                continue
            done = [one for one in state.of(part) if one["plan"] == plan.name]
            if any(one["number"] == number for one in done):
                continue
            with locked(lock):
                found = session(plan, number, enough_seconds(plan, done, seconds))
            state.add(part, found)
            said = [network["verdict"] for network in found["networks"].values()]
            told = ", ".join(f"{said.count(one)} {one}" for one in sorted(set(said)))
            print(
                f"{part}, {plan.name}, session {number}: {told}; {found['validity']}, resolution "
                f"{found['resolution']:.2%}, {found['processes']} processes, {found['seconds']:.0f} s",
                flush=True,
            )


def enough_seconds(plan: Plan, done: Sequence[Mapping], seconds: float) -> float:
    """Return how long a session may last.

    The half-width of an interval goes with the root of the time. What it must be is what the resolution leaves beside
    the band.
    """
    first = next((one for one in done if one["number"] == 0), None)
    if not plan.adapts or first is None or first["resolution"] <= RESOLUTION:
        return seconds
    edge = np.log1p(Settings.band)
    times = (np.log1p(first["resolution"]) - edge) / (np.log1p(WANTED) - edge)
    return float(min(np.ceil(seconds * times**2), MOST_SECONDS))


def session(plan: Plan, number: int, seconds: float) -> dict[str, Any]:
    """Return what one session says, and where there is a slower network, what medians in turn would have said."""
    with plan.made() as (variants, fed), plan.beside(number):
        others = OtherWork()
        found = compare(
            variants,
            baseline=BASELINE,
            inputs=fed,
            threads=plan.threads,
            seconds_cap=seconds,
            seed=number,
            workers=True,
        )
        foreign = others.read()
    return {
        "plan": plan.name,
        "number": number,
        "share": plan.share,
        "threads": plan.threads,
        "seconds_cap": seconds,
        "seconds": found.seconds,
        "seconds_needed": found.seconds_needed,
        "stopped": found.stopped,
        "rounds": len(found.rounds),
        "processes": found.processes,
        "validity": str(found.validity),
        "resolution": found.resolution_of(),
        "band": found.band,
        "conditions": {**found.conditions, "foreign_cores": foreign},
        "networks": {name: _told(timing) for name, timing in found.items() if name != BASELINE},
        "controls": [{"name": timing.name, **_told(timing)} for timing in found.controls],
        "baseline_ms": found[BASELINE].latency_ms,
        "in_turn": in_turn(found, number) if plan.share else None,
    }


def _told(timing: Any) -> dict[str, Any]:
    paired = timing.paired
    numbers = {name: getattr(paired, name) for name in ("speedup", "low", "high", "p_value")}
    return {**numbers, "verdict": str(paired.verdict), "by_process": list(paired.by_process)}


def in_turn(found: Comparison, seed: int) -> dict[str, Any]:
    """Judge the samples of a session as if the baseline had been timed first and the slower network after it.

    The baseline's blocks of the first half of the rounds are compared with the other's of the second half: what a plain
    loop over one and then the other would have had, on the same machine in the same minute. The verdict is that of a
    95 % bootstrap interval of the quotient of medians, with the same band.
    """
    half = len(found.rounds) // 2
    before = _blocks(found.rounds[:half], copies_of(found.baseline))
    after = _blocks(found.rounds[half:], (SLOWER,))
    random = np.random.default_rng(seed)
    medians = [np.median(random.choice(blocks, (RESAMPLES, len(blocks))), axis=1) for blocks in (before, after)]
    low, high = np.percentile(medians[0] / medians[1], [2.5, 97.5]).tolist()
    speedup = float(np.median(before) / np.median(after))
    if 1 / (1 + found.band) <= low and high <= 1 + found.band:
        said = "EQUIVALENT"
    else:
        said = "INCONCLUSIVE" if low <= 1 <= high else "FASTER" if speedup > 1 else "SLOWER"
    return {"speedup": speedup, "low": low, "high": high, "verdict": said}


def _blocks(rounds: Sequence[RoundRecord], names: Sequence[str]) -> np.ndarray:
    pairs = (pair for one in rounds for pair in zip(one.order, one.latencies_ms, strict=True))
    return np.array([latency for owner, latency in pairs if owner in names])
