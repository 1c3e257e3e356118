"""The optimizers of training, and how their learning rate changes.

An optimizer is a function ``(parameters, learning_rate, **options) -> Optimizer``; a schedule of rates is a function
``(optimizer, plan, **options) -> LRScheduler`` whose scheduler is stepped after every training step. A new one is one
function and one line in ``OPTIMIZERS`` or ``LEARNING_SCHEDULES``.

All optimizers are fused: one kernel in place of several for each parameter, so that the update of a small network takes
half the time.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from sparsebench.errors import TrainingError
from sparsebench.registry import LEARNING_SCHEDULES, OPTIMIZERS, options_problem


def adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Return Adam (Kingma and Ba, 2015); ``weight_decay`` is added to the gradient as an L2 penalty."""
    return Adam(parameters, lr=learning_rate, betas=(beta1, beta2), weight_decay=weight_decay, fused=True)


def adamw(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Return AdamW (Loshchilov and Hutter, 2019): Adam whose weight decay is apart from the gradient."""
    return AdamW(parameters, lr=learning_rate, betas=(beta1, beta2), weight_decay=weight_decay, fused=True)


def sgd(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Return stochastic gradient descent with momentum, Nesterov's where asked for."""
    return SGD(
        parameters, lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
    )


def optimizer_problem(name: str, options: Mapping[str, Any]) -> str | None:
    """Return why an optimizer cannot be built with these options, as a sentence, or None where it can."""
    if not options and name in OPTIMIZERS:
        return None  # To build one takes torch's compiler, seconds of imports.
    try:
        build_optimizer(name, options, [nn.Parameter()], 1e-3)
    except TrainingError as error:
        return str(error)
    return None


def build_optimizer(
    name: str, options: Mapping[str, Any], parameters: Iterable[nn.Parameter], learning_rate: float
) -> Optimizer:
    """Return the optimizer of this name in ``OPTIMIZERS``, with options of its own.

    Raises:
        UnknownNameError: where no such optimizer is known.
        TrainingError: where it does not take these options.
    """
    function: Callable[..., Optimizer] = OPTIMIZERS.load(name)
    if problem := options_problem("Optimizer", name, function, options, ("parameters", "learning_rate")):
        raise TrainingError(problem)
    try:
        return function(parameters, learning_rate, **options)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"Optimizer {name!r} does not take these options: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class RatePlan:
    """What a schedule of rates may depend on.

    Attributes:
        steps: training steps in all, at least 1.
        step_size: training steps between two decays of the schedule ``step``, at least 1.
        gamma: factor of each of these decays.
    """

    steps: int
    step_size: int = 1000
    gamma: float = 0.1


def step(optimizer: Optimizer, plan: RatePlan) -> LRScheduler:
    """Multiply the rate by ``learning_gamma`` every ``learning_step`` thousand training steps."""
    return lr_scheduler.StepLR(optimizer, step_size=plan.step_size, gamma=plan.gamma)


def constant(optimizer: Optimizer, plan: RatePlan) -> LRScheduler:  # noqa: ARG001 - the signature of every schedule
    """Leave the rate as it is."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def cosine(optimizer: Optimizer, plan: RatePlan) -> LRScheduler:
    """Let the rate fall to 0 along half a cosine (Loshchilov and Hutter, SGDR, 2017, without restarts)."""
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=plan.steps)


def one_cycle(
    optimizer: Optimizer, plan: RatePlan, peak_at: float = 0.3, start: float = 25.0, end: float = 1e4
) -> LRScheduler:
    """Let the rate rise to ``learning_rate`` and fall to nearly 0 (Smith and Topin, super-convergence, 2018).

    Momentum, or the first beta of Adam, moves the other way, between 0.95 and 0.85.

    Args:
        optimizer: the optimizer.
        plan: its steps.
        peak_at: fraction of training after which the rate is highest.
        start: the first rate is ``learning_rate`` divided by this.
        end: the last rate is the first divided by this.
    """
    return lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=optimizer.param_groups[0]["lr"],
        total_steps=plan.steps,
        pct_start=peak_at,
        div_factor=start,
        final_div_factor=end,
        cycle_momentum=any(key in optimizer.defaults for key in ("momentum", "betas")),
    )


def rates_problem(name: str, options: Mapping[str, Any], warmup: float) -> str | None:
    """Return why a schedule of rates cannot be used like this, as a sentence, or None where it can."""
    problem = options_problem("Learning schedule", name, LEARNING_SCHEDULES.load(name), options, ("optimizer", "plan"))
    if problem:
        return problem
    if not 0 <= warmup < 1:
        return f"learning_warmup is {warmup}; it is the fraction of training in which the rate rises, in [0, 1)."
    if name == "one_cycle" and warmup:
        return "The learning schedule 'one_cycle' warms up by itself; set learning_warmup to 0, or its option peak_at."
    return None


def build_rates(
    name: str, options: Mapping[str, Any], warmup: float, optimizer: Optimizer, plan: RatePlan
) -> LRScheduler:
    """Return the scheduler of this name in ``LEARNING_SCHEDULES``, with options of its own.

    Over the fraction ``warmup`` of all training steps, in [0, 1), the rate rises linearly to that of the schedule.

    Raises:
        UnknownNameError: where no such schedule is known.
        TrainingError: where it does not take these options or this warm-up.
    """
    if problem := rates_problem(name, options, warmup):
        raise TrainingError(problem)
    try:
        scheduler: LRScheduler = LEARNING_SCHEDULES.load(name)(optimizer, plan, **options)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise TrainingError(f"Learning schedule {name!r} does not take these options: {error}.") from error
    steps = round(warmup * plan.steps)
    if not steps:
        return scheduler
    rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return lr_scheduler.ChainedScheduler([scheduler, rising])
