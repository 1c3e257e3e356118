"""The paired comparison of variants; see ``compare``."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.statistics.verdicts import fewest_rounds
from sparsebench.timing.bench import Bench, RoundTimer, built
from sparsebench.timing.comparison import Comparison, summarise
from sparsebench.timing.schedule import BLOCK_MS, HANG_SECONDS, Clock, Settings
from sparsebench.timing.session import LOOKS, Start, run_session
from sparsebench.timing.variants import Built, Variant, batch_of, fits, grouped
from sparsebench.timing.worker import Sent, generations, pickled

CONTROL = "{} (second copy)"


def compare(
    variants: Mapping[str, Callable[..., object] | Built],
    *,
    baseline: str,
    second: str | None = None,
    inputs: tuple[Any, ...] | None = None,
    batch: int | None = None,
    threads: int = 1,
    seconds_cap: float = 60.0,
    precision: float = 0.01,
    band: float = 0.01,
    seed: int = 0,
    block_ms: float = BLOCK_MS,
    workers: bool | None = None,
    group_size: int | None = None,
    memory_limit_bytes: int | None = None,
    hang_seconds: float = HANG_SECONDS,
    cuda_graphs: bool = False,
    footprint: bool = False,
    clock: Clock | None = None,
) -> Comparison:
    """Compare latencies in pairs, so that they are right on a machine that does other things too.

    Complete rounds in random order hold a block of every variant and several of the baseline; each is compared with
    the baseline's blocks beside it, and the median over rounds is the ratio. Three worker processes time eight rounds
    each, or up to sixteen where these are short. It stops there where all intervals are narrow enough; where one is
    not, up to three more take what is left of the time.
    A second copy of the baseline runs along; see ``Comparison.valid``.

    Networks are timed on the CPU, or on one CUDA GPU: by its own events, and with a cold L2 cache.

    Args:
        variants: functions without arguments, networks (in evaluation mode), or ``Built`` recipes, by name.
        baseline: name of the one that the others are compared with.
        second: name of another one that they are compared with as well, round by round; see ``Timing.second``.
        inputs: positional arguments of a network's forward pass; the same for all networks.
        batch: samples in one call; ``inputs`` are cut or repeated to it. None leaves them as they are.
        threads: threads of torch inside one operation. A worker stays on as many cores.
        seconds_cap: about how long it may last. 20 variants have verdicts within 60 s on two cores unless a call takes
            longer than a block, 50 ms; see ``sparsebench.timing.schedule`` for the arithmetic. Many variants take more
            rounds: for those that ``statistics.verdicts.fewest_rounds`` counts it lasts up to twice as long.
            Where three generations of three rounds do not fit, they are timed nevertheless, for fewer give no interval.
        precision: half-width of the intervals at which it stops, as a fraction.
        band: differences up to this fraction do not matter: EQUIVALENT is inside it, and a second copy of the baseline
            beyond it makes the session INVALID.
        seed: of the random order of the rounds.
        block_ms: a block lasts at least so long.
        workers: True for worker processes, False for the calling process; None for workers where every variant can be
            pickled. In the calling process generations are restarts of the loop, and no cores are fixed.
        group_size: at most so many variants are loaded at once; each group has its own baseline and second copy.
        memory_limit_bytes: at most so many bytes of network weights are loaded at once, the baseline's two copies
            included; None for half of what is available. Functions do not say what they need.
        hang_seconds: a worker that stays at one variant for longer is ended.
        cuda_graphs: whether networks on a GPU are captured as CUDA graphs and replayed, so that the CPU's time for
            launching many small kernels does not count.
        footprint: whether workers also measure the memory that each variant takes; see ``Timing.peak_bytes``.
        clock: returns nanoseconds that never run backwards; given, the calling process times.

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
        clock=clock,
    )
    _check(variants, baseline, second, batch, settings)
    if inputs is not None and batch is not None:
        inputs = tuple(batch_of(part, batch) for part in inputs)
    return compare_variants(
        [Variant(name, target, inputs) for name, target in variants.items()], baseline, second, settings
    )


def compare_variants(variants: Sequence[Variant], baseline: str, second: str | None, settings: Settings) -> Comparison:
    """Compare variants that share their inputs; ``compare`` says how.

    One variant alone is compared with its second copy, which says how far the machine can be trusted.

    Args:
        variants: among them the baselines.
        baseline: name of the first baseline.
        second: name of the second, which may be the same; None for none.
        settings: possible ones.

    Raises:
        VariantError: where a variant fails, or a worker dies or hangs at it.
        SparsebenchError: where workers were asked for and are not possible.
    """
    sent = _sent(variants, settings)
    given = {variant.name: variant for variant in variants}
    fixed = {name: given[name] for name in (baseline, second) if name is not None}
    others = [variant for variant in variants if variant.name not in fixed]
    groups = grouped(others, list(fixed.values()), settings.group_size, settings.memory_limit_bytes)
    random, sessions = np.random.default_rng(settings.seed), []
    for number, group in enumerate(groups):
        control = {CONTROL.format(baseline): given[baseline]}
        members = {baseline: given[baseline]} | control | fixed | {variant.name: variant for variant in group}
        begin = settings.now()
        with _starter(members, sent, settings) as start:
            sessions.append(
                run_session(
                    start,
                    tuple(members),
                    settings,
                    seconds_cap=settings.seconds_cap * (len(group) / len(others) if others else 1),
                    decisive=fewest_rounds(len(given)),
                    random=random,
                    begin=begin,
                    group=number,
                )
            )
    return summarise(sessions, tuple(given), baseline, second, settings, sent if isinstance(sent, str) else None)


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


def _starter(members: Mapping[str, Variant], sent: Sent | str, settings: Settings) -> AbstractContextManager[Start]:
    """Hand out what starts generations: here where there is a reason for that, otherwise in workers."""
    if isinstance(sent, str):
        return nullcontext(_here(members, settings))
    # Several workers hold the variants several times; where they are too large for that, one is built after another.
    ahead = LOOKS[0] if fits(members.values(), LOOKS[0], settings.memory_limit_bytes) else 1
    payloads = {name: sent.variants[variant.name] for name, variant in members.items()}
    return generations(Sent(payloads, sent.inputs), settings, ahead)


def _here(members: Mapping[str, Variant], settings: Settings) -> Start:
    variants = [replace(variant, name=name) for name, variant in members.items()]
    if isinstance(variants[1].target, nn.Module):  # The second copy of a network has weights of its own.
        variants[1] = replace(variants[1], target=copy.deepcopy(variants[1].target))

    def start(generation: int) -> AbstractContextManager[RoundTimer]:  # noqa: ARG001 - all are started alike
        return nullcontext(Bench.warmed_up(built(variants, settings), settings))

    return start


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
    if CONTROL.format(baseline) in variants:
        problems.append(f"The name {CONTROL.format(baseline)!r} is taken by the control; rename that variant.")
    if batch is not None and batch < 1:
        problems.append(f"batch={batch} is not possible; it must be at least 1.")
    problems += settings.problems()
    if problems:
        raise ProblemsError("This comparison is not possible:", problems)
