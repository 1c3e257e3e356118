"""The paired comparison of variants; see ``compare``."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.tensors import batch_of
from sparsebench.timing.bench import Bench, RoundTimer, built
from sparsebench.timing.comparison import Comparison, copies_of
from sparsebench.timing.schedule import BLOCK_MS, HANG_SECONDS, Cache, Clock, Settings, Step
from sparsebench.timing.session import PROCESSES, Starter, run_session
from sparsebench.timing.summary import summarise
from sparsebench.timing.variants import Built, Variant, fits, grouped
from sparsebench.timing.worker import Sent, generations, pickled


def compare(
    variants: Mapping[str, Callable[..., object] | Built],
    *,
    baseline: str,
    second: str | None = None,
    inputs: tuple[Any, ...] | None = None,
    batch: int | None = None,
    threads: int = 1,
    seconds_cap: float = 60.0,
    precision: float = 0.006,
    band: float = 0.01,
    seed: int = 0,
    block_ms: float = BLOCK_MS,
    workers: bool | None = None,
    group_size: int | None = None,
    memory_limit_bytes: int | None = None,
    hang_seconds: float = HANG_SECONDS,
    cuda_graphs: bool = False,
    footprint: bool = False,
    cache: Cache = "hot",
    clock: Clock | None = None,
    watch: Callable[[Step], None] | None = None,
    writes_to: str | None = None,
) -> Comparison:
    """Compare latencies in pairs, which holds on a machine that does other things too.

    At least six fresh processes load all variants, each in its own random order, and time them in rounds: a block of
    each variant and of four copies of the baseline, in random order. Within a process, a variant's speedup is the
    median over rounds against each copy, averaged over the copies. Intervals come from the spread of these speedups
    over processes (Student's t) and hold for all variants together; verdicts are read off them. The copies, each
    against the others, are the session's controls; see ``Comparison.validity``.

    Networks are timed on the CPU, or on one CUDA GPU with its own events and a cold L2 cache.

    Args:
        variants: functions without arguments, networks (in evaluation mode), or ``Built`` recipes, by name.
        baseline: name of the one that the others are compared with.
        second: name of another one that they are compared with as well, round by round; see ``Timing.second``.
        inputs: positional arguments of a network's forward pass; the same for all networks.
        batch: samples in one call; ``inputs`` are cut or repeated to it. None leaves them as they are.
        threads: threads of torch inside one operation. A worker stays on as many cores.
        seconds_cap: how long it may last. If six processes with two rounds each take longer, ``watch`` is told so
            beforehand, and it takes that long.
        precision: half-width of the intervals at which it stops, as a fraction.
        band: differences up to this fraction do not matter: EQUIVALENT is inside it, FASTER and SLOWER are beyond it,
            and a copy of the baseline beyond it makes the session INVALID.
        seed: of the random order of the rounds.
        block_ms: a block lasts at least so long.
        workers: True for worker processes, False for the calling process; None for workers where every variant can be
            pickled. In the calling process networks are only placed anew in memory in place of a new process, and
            no cores are fixed.
        group_size: at most so many variants are loaded at once; each group has its own copies of the baseline.
        memory_limit_bytes: at most so many bytes of network weights are loaded at once, the baseline's copies
            included; None for half of what is available. Functions do not say what they need.
        hang_seconds: a worker that stays at one variant for longer is ended.
        cuda_graphs: whether networks on a GPU are captured as CUDA graphs and replayed, so that the CPU's time for
            launching many small kernels does not count.
        footprint: whether workers also measure the memory that each variant takes; see ``Timing.peak_bytes``.
        cache: "hot": calls follow one another, so a network finds its weights in the caches; "cold": other memory, as
            large as the largest cache, is touched before each call. A GPU's L2 cache is always cold.
        clock: returns nanoseconds that never run backwards; given, the calling process times.
        watch: told where the comparison stands, before each round.
        writes_to: the only folder in which worker processes can write, where the system sees to that (Linux, by
            Landlock); None leaves them free.

    Raises:
        VariantError: where a variant fails, or a worker dies or hangs at it.
        SparsebenchError: where an argument is not possible, or a worker cannot be started.
    """
    settings = Settings(
        threads=threads,
        seconds_cap=seconds_cap,
        precision=precision,
        band=band,
        seed=seed,
        block_ms=block_ms,
        workers=workers,
        group_size=group_size,
        memory_limit_bytes=memory_limit_bytes,
        hang_seconds=hang_seconds,
        cuda_graphs=cuda_graphs,
        footprint=footprint,
        cache=cache,
        clock=clock,
        watch=watch,
        writes_to=writes_to,
    )
    _check(variants, baseline, second, batch, settings)
    if inputs is not None and batch is not None:
        inputs = batch_of(inputs, batch)
    return compare_variants(
        [Variant(name, target, inputs) for name, target in variants.items()], baseline, second, settings
    )


def compare_variants(
    variants: Sequence[Variant], baseline: str, second: str | None, settings: Settings, alike: Collection[str] = ()
) -> Comparison:
    """Compare variants that share their inputs; ``compare`` says how.

    One variant alone is compared with its copies, which say how far the machine can be trusted.

    Args:
        variants: among them the baselines.
        baseline: name of the first baseline.
        second: name of the second, which may be the same; None for none.
        settings: possible ones.
        alike: names of variants that run the same kernels as the baseline, as masked networks do: they are further
            controls of their session, and keep their own interval and verdict.

    Raises:
        VariantError: where a variant fails, or a worker dies or hangs at it.
        SparsebenchError: where workers were asked for and are not possible.
    """
    sent = _sent(variants, settings)
    given = {variant.name: variant for variant in variants}
    copies = dict.fromkeys(copies_of(baseline), given[baseline])
    fixed = {} if second in (None, baseline) else {str(second): given[str(second)]}
    others = [variant for variant in variants if variant.name not in (baseline, second)]
    groups = grouped(others, [*copies.values(), *fixed.values()], settings.group_size, settings.memory_limit_bytes)
    random, sessions = np.random.default_rng(settings.seed), []
    for number, group in enumerate(groups):
        members = copies | fixed | {variant.name: variant for variant in group}
        begin = settings.now()
        with _starter(members, sent, settings, random.spawn(1)[0]) as start:
            sessions.append(
                run_session(
                    start,
                    tuple(members),
                    settings,
                    seconds_cap=settings.seconds_cap * (len(group) / len(others) if others else 1),
                    networks=max(1, len(given) - 1),
                    random=random,
                    begin=begin,
                    group=number,
                )
            )
    because = sent if isinstance(sent, str) else None
    return summarise(sessions, tuple(given), baseline, second, settings, because, frozenset(alike))


def _sent(variants: Sequence[Variant], settings: Settings) -> Sent | str:
    """Return the variants as workers load them, or why the calling process times them instead."""
    if settings.workers is False:
        return "asked for by workers=False"
    sent = pickled(variants) if settings.clock is None else "a clock was given, which a worker would not see"
    if settings.workers and isinstance(sent, str):
        raise SparsebenchError(
            f"Workers were asked for, but {sent}. Use module-level functions, functools.partial or Built(factory), "
            "or pass workers=False."
        )
    return sent


def _starter(
    members: Mapping[str, Variant], sent: Sent | str, settings: Settings, random: np.random.Generator
) -> AbstractContextManager[Starter]:
    """Hand out what starts processes: here where there is a reason for that, otherwise in workers."""
    if isinstance(sent, str):
        return nullcontext(_here(members, settings, random))
    # Several workers hold the variants several times; where they are too large for that, one is built after another.
    ahead = PROCESSES if fits(members.values(), PROCESSES, settings.memory_limit_bytes) else 1
    payloads = {name: sent.variants[variant.name] for name, variant in members.items()}
    return generations(Sent(payloads, sent.inputs), settings, ahead, random)


def _here(members: Mapping[str, Variant], settings: Settings, random: np.random.Generator) -> Starter:
    """Return what starts the loop anew in this process, with networks placed anew in memory, in an order of its own."""
    here = replace(settings, footprint=False)  # The process has run networks already.

    def start(process: int, left: int) -> AbstractContextManager[RoundTimer]:  # noqa: ARG001 - all are started alike
        began = settings.now()
        variants = [partial(_placed_anew, name, variant) for name, variant in members.items()]
        calls = built(variants, random.permutation(len(variants)).tolist(), here)
        ready_ns = settings.now() - began
        bench = Bench.warmed_up(calls, here)
        bench.ready_ns = ready_ns
        return nullcontext(bench)

    return start


def _placed_anew(name: str, variant: Variant) -> Variant:
    target = variant.target
    if isinstance(target, nn.Module):
        with suppress(Exception):  # What cannot be copied is timed where it lies.
            target = copy.deepcopy(target)
    return replace(variant, name=name, target=target)


def _check(
    variants: Mapping[str, object], baseline: str, second: str | None, batch: int | None, settings: Settings
) -> None:
    problems = [
        f"{argument}={name!r} is none of the variants; it must be one of {', '.join(map(repr, variants))}."
        for argument, name in (("baseline", baseline), ("second", second))
        if name is not None and name not in variants
    ]
    if len(variants) < 2:
        problems.append("There is nothing to compare; give the baseline and at least one other variant.")
    problems += [
        f"The name {name!r} is taken by a copy of the baseline; rename that variant."
        for name in copies_of(baseline)[1:]
        if name in variants
    ]
    if batch is not None and batch < 1:
        problems.append(f"batch={batch} is not possible; it must be at least 1.")
    problems += settings.problems()
    if problems:
        raise ProblemsError("This comparison is not possible:", problems)
