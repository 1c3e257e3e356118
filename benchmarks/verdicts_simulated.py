"""Simulated sessions, whose truth is known: how often intervals and verdicts are right, and how often they decide.

Each session follows the protocol: four copies of the baseline and the variants are loaded in a random order in every
process, and timed in rounds in random order; after six processes it looks at the widths, and goes on where some
interval is too wide. Beside it stand sessions judged by ``intervals_from_rounds``, on the same machine.

A truth shifts the logarithms of a variant and changes nothing else, so that one simulation serves all of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import intervals_from_rounds as by_rounds
import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from sparsebench.statistics.processes import (
    Estimate,
    noise_within,
    of_copies,
    over_processes,
    weights_of,
    within_process,
)
from sparsebench.timing.schedule import COPIES, Settings
from sparsebench.timing.session import MOST_PROCESSES, PROCESSES

Floats = NDArray[np.float64]

Called = Callable[[Estimate, float], tuple[NDArray[np.bool_], ...]]
"""Returns which networks are FASTER, SLOWER and EQUIVALENT, from their intervals and the truth they were moved by."""

SESSIONS = 4000
CHUNK = 250
"""Sessions that are drawn at once, so that they fit into memory."""

ROUNDS = {1: 20, 20: 8}
"""Rounds of a process, by the number of variants: about as many as a session of 60 s has on two cores."""

NOISE = 0.02
"""Standard deviation of a block, in log units."""

MEMORY = 0.95
"""Correlation of what is common to one block and the next."""

LIMITS = (12, MOST_PROCESSES)
"""Processes of a session that is not precise after six; how many there are is a matter of time."""

COUNTS = (6, 8, 12, 18)
"""Processes for which it is said how often a difference is found."""

BAND, PRECISION = Settings.band, Settings.precision

INSIDE, BEYOND = 0.0095, 0.0105
"""Differences just inside the band, which must not be called, and just beyond it, which are not EQUIVALENT."""

TRUTHS = {"0": (0.0,), "inside": (INSIDE, -INSIDE), "beyond": (BEYOND, -BEYOND)}


@dataclass(frozen=True)
class Effect:
    """What disturbs the simulated machine, in log units.

    Attributes:
        name: as the page calls it.
        process: standard deviation of what a process does to a network that it loads.
        place: what is loaded first is faster by so much.
        common: standard deviation of noise that changes slowly, common to neighbouring blocks.
        bursts: share of blocks that a burst of other work slows down, by up to ``BURST``.
        disturbed: share of processes in which ``OFTEN`` of the blocks are slowed down by at least ``BURST`` / 2.
    """

    name: str
    process: float = 0.0
    place: float = 0.0
    common: float = 0.0
    bursts: float = 0.0
    disturbed: float = 0.0


BURST = 0.7

OFTEN = 0.4
"""Share of slow blocks in a disturbed process: what a host that was uneven for minutes did."""

EFFECTS = (
    Effect("none"),
    Effect("noise common to neighbouring blocks, 3 %", common=0.03),
    Effect("bursts, one block in five", bursts=0.2),
    Effect("one process in four disturbed, process 0.5 %", disturbed=0.25, process=0.005),
    *(Effect(f"process, {100 * size:g} %", process=size) for size in (0.002, 0.005, 0.01, 0.02)),
    *(Effect(f"place, {100 * size:g} %", place=size) for size in (0.005, 0.01)),
    Effect("process 1 % and place 1 %", process=0.01, place=0.01),
)

POWER = {"process, 1 %": 0.05, "process, 0.5 %": 0.03}
"""Differences that must be found, by the effect beside which they must."""


def simulate(effect: Effect, variants: int, sessions: int = SESSIONS) -> dict[str, object]:
    """Return shares of sessions, by method: judged over processes, and from rounds."""
    found: dict[str, Counter[str]] = {"processes": Counter(), "rounds": Counter()}
    number = EFFECTS.index(effect)
    done = 0
    while done < sessions:
        here = min(CHUNK, sessions - done)
        random = np.random.default_rng([number, variants, done])
        found["processes"].update(_over_processes(effect, variants, here, random))
        found["rounds"].update(_from_rounds(effect, variants, here, random))
        done += here
    return {
        "effect": effect.name,
        "variants": variants,
        "rounds_a_process": ROUNDS[variants],
        "sessions": sessions,
        "methods": {
            name: {key: float(value) / sessions for key, value in sums.items()} for name, sums in found.items()
        },
    }


def log_noise(effect: Effect, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """Return what blocks differ by; those of the last dimension follow one another in time."""
    noise: NDArray[Any] = random.standard_normal(shape, dtype=np.float32) * np.float32(NOISE)
    if effect.common:
        shocks = random.standard_normal(shape, dtype=np.float32)
        shocks[..., 1:] *= np.sqrt(1 - MEMORY**2)  # The first is drawn from what the series settles to.
        noise += effect.common * lfilter([1.0], [1.0, -MEMORY], shocks, axis=-1)
    if effect.bursts:
        noise += (random.random(shape) < effect.bursts) * random.uniform(0, BURST, shape)
    if effect.disturbed:
        slow = (random.random((*shape[:2], 1)) < effect.disturbed) & (random.random(shape) < OFTEN)
        noise += slow * random.uniform(BURST / 2, BURST, shape)
    return noise


def _over_processes(effect: Effect, variants: int, sessions: int, random: np.random.Generator) -> dict[str, float]:
    networks, rounds = COPIES + variants, ROUNDS[variants]
    logs = log_noise(effect, (sessions, MOST_PROCESSES, rounds * networks), random)
    logs = logs.reshape(sessions, MOST_PROCESSES, rounds, networks)
    if effect.common:  # Noise without a memory is the same in any order.
        logs = np.take_along_axis(logs, random.random(logs.shape).argsort(axis=-1), axis=-1)
    own = effect.process * random.standard_normal((sessions, MOST_PROCESSES, networks))
    own -= effect.place * (random.integers(networks, size=(sessions, MOST_PROCESSES, 1)) == np.arange(networks))
    logs = logs + own[:, :, None]
    speedups = np.moveaxis(within_process(logs, range(COPIES)), -1, 1)
    noise = noise_within(logs, range(COPIES))

    def estimates(processes: int) -> tuple[Estimate, Estimate]:
        some, weights = speedups[..., :processes], weights_of(noise[:, :processes])[:, None]
        return of_copies(some[:, :COPIES], BAND, weights), over_processes(some[:, COPIES:], variants, BAND, weights)

    first = estimates(PROCESSES)
    precise = _narrow(first[0]) & _narrow(first[1])
    sums: dict[str, float] = {}
    for most in LIMITS:
        copies, found = (_either(precise, early, late) for early, late in zip(first, estimates(most), strict=True))
        states = _states(copies)
        sums |= {f"{name} {most}": float(value.sum()) for name, value in states.items()}
        sums[f"copies cover {most}"] = float(_covers(copies, 0.0).sum())
        sums |= {f"{name} {most}": value for name, value in _judged(found, _called).items()}
        sums[f"processes {most}"] = float(np.where(precise, PROCESSES, most).sum())
    if difference := POWER.get(effect.name):
        sums |= _power(difference, {count: (estimates(count)[1], _called) for count in COUNTS})
    return sums


def _from_rounds(effect: Effect, variants: int, sessions: int, random: np.random.Generator) -> dict[str, float]:
    items, rounds = variants + 1, ROUNDS[variants]  # The last is the control.
    pattern = by_rounds.pattern(items)
    logs = log_noise(effect, (sessions, MOST_PROCESSES, rounds * len(pattern)), random)
    ratios = by_rounds.log_ratios(logs.reshape(sessions, MOST_PROCESSES, rounds, len(pattern)), pattern, random)
    own = effect.process * random.standard_normal((sessions, MOST_PROCESSES, items + 1))
    own[..., 0] -= effect.place  # The baseline is always loaded first.
    # Above 0 is faster, as everywhere here.
    ratios = -np.moveaxis(ratios + (own[..., 1:] - own[..., :1])[:, :, None, :, None], 3, 1)

    def judge(processes: int) -> tuple[Estimate, by_rounds.Signs]:
        some = ratios[:, :, :processes]
        return by_rounds.median_interval(some), by_rounds.Signs(some[:, :-1])

    first = judge(PROCESSES)
    precise = _narrow(first[0])
    sums: dict[str, float] = {}
    for most in LIMITS:
        late = judge(most)
        both = _either(precise, first[0], late[0])
        found, control = (Estimate(*(part[:, at] for part in both)) for at in (slice(-1), slice(-1, None)))
        outside = _states(control)["invalid"]
        sums |= {f"invalid {most}": float(outside.sum()), f"valid {most}": float((~outside).sum())}

        def called(moved: Estimate, truth: float, late: by_rounds.Signs = late[1]) -> tuple[NDArray[np.bool_], ...]:
            p_values = np.where(precise[:, None], first[1].p_values(truth), late.p_values(truth))
            return by_rounds.called(moved, p_values, BAND)

        sums |= {f"{name} {most}": value for name, value in _judged(found, called).items()}
        sums[f"processes {most}"] = float(np.where(precise, PROCESSES, most).sum())
    if difference := POWER.get(effect.name):
        by_count = {}
        for count in COUNTS:
            every, signs = judge(count)
            only = Estimate(*(part[:, :-1] for part in every))
            by_count[count] = (
                only,
                lambda moved, truth, signs=signs: by_rounds.called(moved, signs.p_values(truth), BAND),
            )
        sums |= _power(difference, by_count)
    return sums


def _called(found: Estimate, truth: float) -> tuple[NDArray[np.bool_], ...]:
    """Return which networks are FASTER, SLOWER and EQUIVALENT, as one reads it off the intervals."""
    edge = np.log1p(BAND)
    return found.low > edge, found.high < -edge, (found.low >= -edge) & (found.high <= edge)


def _judged(found: Estimate, called: Called) -> dict[str, float]:
    """Return how many sessions have all intervals right, and how many some verdict wrong, the worse sign counting."""
    sums = {
        "cover": float(_covers(found, 0.0).sum()),
        "half": float(((found.high - found.low) / 2).mean(axis=-1).sum()),
    }
    for name, truths in TRUTHS.items():
        for truth in truths:
            shift = _log(truth)
            faster, slower, equivalent = called(_moved(found, shift), shift)
            wrong = (faster & (truth <= BAND)) | (slower & (truth >= -BAND)) | (equivalent & (abs(truth) > BAND))
            sums[f"wrong {name} {'-' if truth < 0 else '+'}"] = float(wrong.any(axis=-1).sum())
    return sums


def _power(difference: float, by_count: Mapping[int, tuple[Estimate, Called]]) -> dict[str, float]:
    """Return in how many sessions a network is called what it is, in the mean over networks and both directions."""
    sums = {}
    for count, (found, called) in by_count.items():
        up, down = _log(difference), _log(-difference)
        faster, slower = called(_moved(found, up), up)[0], called(_moved(found, down), down)[1]
        sums[f"power {count}"] = float((faster.mean(axis=-1) + slower.mean(axis=-1)).sum() / 2)
    return sums


def _log(difference: float) -> float:
    """Return the log of a speedup that is above 1, or whose inverse is, by a difference."""
    return float(np.copysign(np.log1p(abs(difference)), difference))


def _moved(found: Estimate, shift: float) -> Estimate:
    return Estimate(found.centre + shift, found.low + shift, found.high + shift, found.p_value)


def _either(first: NDArray[np.bool_], a: Estimate, b: Estimate) -> Estimate:
    return Estimate(*(np.where(first[:, None], one, other) for one, other in zip(a, b, strict=True)))


def _narrow(found: Estimate) -> NDArray[np.bool_]:
    return np.asarray(((found.high - found.low) / 2 < PRECISION).all(axis=-1))


def _covers(found: Estimate, truth: float) -> NDArray[np.bool_]:
    return np.asarray(((found.low <= truth) & (truth <= found.high)).all(axis=-1))


def _states(controls: Estimate) -> dict[str, NDArray[np.bool_]]:
    edge = np.log1p(BAND)
    invalid = ((controls.low > edge) | (controls.high < -edge)).any(axis=-1)
    valid = ((controls.low >= -edge) & (controls.high <= edge)).all(axis=-1)
    return {"valid": valid, "noisy": ~valid & ~invalid, "invalid": invalid}


def missing(done: Sequence[Mapping], sessions: int) -> Iterator[tuple[Effect, int]]:
    """Yield the rows that are not among those that are done."""
    have = {(one["effect"], one["variants"]) for one in done if one["sessions"] >= sessions}
    yield from ((effect, variants) for variants in ROUNDS for effect in EFFECTS if (effect.name, variants) not in have)
