"""The paired comparison of variants; see ``compare``."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.timing.batch import batch_of
from sparsebench.timing.bench import Bench, RoundTimer
from sparsebench.timing.blocks import Clock
from sparsebench.timing.comparison import Comparison
from sparsebench.timing.grouping import grouped
from sparsebench.timing.session import Plan, run_session
from sparsebench.timing.summary import summarise
from sparsebench.timing.variants import Built, Variant, pickled, second_copy
from sparsebench.timing.worker import worker

BLOCK_NS = 50e6
"""A block lasts at least this long: a scheduler's time slice, a few milliseconds, is a small part of it."""

CONTROL = "{} (second copy)"


def compare(
    variants: Mapping[str, Callable[..., object] | Built],
    *,
    baseline: str,
    inputs: tuple[Any, ...] | None = None,
    batch: int | None = None,
    threads: int = 1,
    seconds_cap: float = 60.0,
    precision: float = 0.01,
    band: float = 0.01,
    seed: int = 0,
    workers: bool | None = None,
    group_size: int | None = None,
    memory_limit_bytes: int | None = None,
    clock: Clock | None = None,
) -> Comparison:
    """Compare latencies in pairs, so that they are right on a machine that does other things too.

    Complete rounds in random order hold a block of every variant and several of the baseline; each is compared with
    the baseline's blocks beside it, and the median over rounds is the ratio. Three to six worker processes time eight
    rounds each. After the third and at the end it looks at the intervals, and stops where all are narrow enough.
    A second copy of the baseline runs along; see ``Comparison.valid``.

    Args:
        variants: functions without arguments, networks (in evaluation mode, on the CPU), or ``Built`` recipes, by name.
        baseline: name of the one that the others are compared with.
        inputs: positional arguments of a network's forward pass; the same for all networks.
        batch: samples in one call; ``inputs`` are cut or repeated to it. None leaves them as they are.
        threads: threads of torch inside one operation. A worker stays on as many cores.
        seconds_cap: about how long it may last. 20 variants have verdicts within 60 s on two cores unless a call takes
            longer than a block, 50 ms; see ``sparsebench.timing.schedule`` for the arithmetic. Where three generations
            of three rounds do not fit, they are timed nevertheless, for fewer give no interval.
        precision: half-width of the intervals at which it stops, as a fraction.
        band: differences up to this fraction do not matter: EQUIVALENT is inside it, and a second copy of the baseline
            beyond it makes the session INVALID.
        seed: of the random order of the rounds.
        workers: True for worker processes, False for the calling process; None for workers where every variant can be
            pickled. In the calling process generations are restarts of the loop, and no cores are fixed.
        group_size: at most so many variants are loaded at once; each group has its own baseline and second copy.
        memory_limit_bytes: at most so many bytes of network weights are loaded at once, the baseline's two copies
            included; None for half of what is available. ``Built`` and functions do not say what they need.
        clock: returns nanoseconds that never run backwards; given, the calling process times.

    Raises:
        SparsebenchError: where an argument is not possible, a variant fails, or a worker dies.
    """
    _check(variants, baseline, threads, seconds_cap, precision, band, batch, group_size)
    if inputs is not None and batch is not None:
        inputs = tuple(batch_of(part, batch) for part in inputs)
    given = {name: Variant(name, target, inputs) for name, target in variants.items()}
    payloads, because = _payloads(list(given.values()), workers, clock)
    first, control = given[baseline], CONTROL.format(baseline)
    others = [variant for name, variant in given.items() if name != baseline]
    groups = grouped(others, first, group_size, memory_limit_bytes)
    now, random, sessions = clock or time.perf_counter_ns, np.random.default_rng(seed), []
    for number, group in enumerate(groups):
        members = [first, second_copy(first, control) if because else first, *group]
        names = [baseline, control, *(variant.name for variant in group)]
        start: Callable[[], AbstractContextManager[RoundTimer]]
        if because is None:
            sent = [payloads[variant.name] for variant in members]
            start = partial(worker, sent, names, threads=threads, least_block_ns=BLOCK_NS)
        else:
            start = partial(_here, members, threads, now)
        plan = Plan(seconds_cap=seconds_cap * len(group) / len(others), precision=precision)
        sessions.append(run_session(start, names, plan, random=random, clock=now, group=number))
    return summarise(
        sessions, tuple(given), baseline, band=band, precision=precision, threads=threads, seed=seed, because=because
    )


def _here(members: Sequence[Variant], threads: int, clock: Clock) -> AbstractContextManager[RoundTimer]:
    return nullcontext(Bench.load(members, threads=threads, least_block_ns=BLOCK_NS, clock=clock))


def _payloads(
    variants: Sequence[Variant], workers: bool | None, clock: Clock | None
) -> tuple[dict[str, bytes], str | None]:
    """Return the variants as workers load them, and why the calling process times them instead, if it does."""
    if workers is False:
        return {}, "asked for by workers=False"
    if clock is not None:
        because: str | None = "a clock was given, which a worker would not see"
        payloads: list[bytes] = []
    else:
        payloads, because = pickled(variants)
    if because is not None and workers:
        raise SparsebenchError(
            f"Workers were asked for, but {because}. Use module-level functions, functools.partial or Built(factory), "
            "or pass workers=False."
        )
    return {variant.name: payload for variant, payload in zip(variants, payloads, strict=False)}, because


def _check(
    variants: Mapping[str, object],
    baseline: str,
    threads: int,
    seconds_cap: float,
    precision: float,
    band: float,
    batch: int | None,
    group_size: int | None,
) -> None:
    """Raise one error that lists everything that is wrong with the arguments."""
    problems = []
    if baseline not in variants:
        problems.append(
            f"baseline={baseline!r} is none of the variants; it must be one of {', '.join(map(repr, variants))}."
        )
    if len(variants) < 2:
        problems.append("There is nothing to compare; give the baseline and at least one other variant.")
    if CONTROL.format(baseline) in variants:
        problems.append(f"The name {CONTROL.format(baseline)!r} is taken by the control; rename that variant.")
    for name, value in (("threads", threads), ("batch", batch), ("group_size", group_size)):
        if value is not None and value < 1:
            problems.append(f"{name}={value} is not possible; it must be at least 1.")
    for name, share in (("precision", precision), ("band", band)):
        if not 0 < share < 1:
            problems.append(f"{name}={share} is not possible; it is a fraction between 0 and 1, 0.01 for one percent.")
    if not 0 < seconds_cap < float("inf"):
        problems.append(f"seconds_cap={seconds_cap} is not possible; it must be a number of seconds above 0.")
    if problems:
        raise ProblemsError("This comparison is not possible:", problems)
