"""The optimizers of training.

An optimizer is a function ``(parameters, learning_rate, **options) -> Optimizer``. A new one is one function and one
line in ``OPTIMIZERS``.

All of them are fused: one kernel in place of several for each parameter, so that the update of a small network takes
half the time.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from sparsebench.errors import TrainingError
from sparsebench.registry import OPTIMIZERS, options_problem


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
    function = OPTIMIZERS.load(name)
    problem = options_problem("Optimizer", name, function, options, ("parameters", "learning_rate"))
    if problem:
        raise TrainingError(problem)
    try:
        return cast("Optimizer", function(parameters, learning_rate, **options))
    except (ValueError, TypeError) as error:
        raise TrainingError(f"Optimizer {name!r} does not take these options: {error}.") from error
