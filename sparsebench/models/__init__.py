"""Networks by name. A new one is a file with a factory ``(num_classes, input_shape, …) -> nn.Module`` and a line in
``MODELS``.
"""  # noqa: D205 - the sentence does not fit one line

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from sparsebench.errors import ModelError
from sparsebench.registry import MODELS


def build_model(
    name: str, num_classes: int, input_shape: tuple[int, ...], options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a registered name, or ``package.module:callable`` for a class or a function that builds a network.
        num_classes: how many classes it tells apart.
        input_shape: shape of one sample, without the batch.
        options: further keyword arguments; they win over the two above, which are passed only where they are accepted.

    Returns:
        The network.

    Raises:
        UnknownNameError: where no such model is known.
        ModelError: where the options do not fit, or what was built is no network.
    """
    factory = MODELS.load(name)
    if isinstance(factory, nn.Module):
        raise ModelError(
            f"{name} is a network already; give the class or function that builds it, so that each starts fresh."
        )
    if not callable(factory):
        raise ModelError(f"{name} is {type(factory).__name__!r}, which cannot be called; give a class or a function.")
    options = dict(options or {})
    try:
        signature = inspect.signature(factory)
    except ValueError:  # A compiled factory may not tell; then it is given both.
        return _network(name, factory(**{"num_classes": num_classes, "input_shape": input_shape, **options}))
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    given = {"num_classes": num_classes, "input_shape": input_shape}
    passed = {key: value for key, value in given.items() if takes_any or key in signature.parameters} | options
    try:
        signature.bind(**passed)
    except TypeError as error:
        names = ", ".join(signature.parameters) or "no arguments"
        raise ModelError(f"Model {name!r} cannot be built with these options: {error}. It takes {names}.") from error
    return _network(name, factory(**passed))


def _network(name: str, built: object) -> nn.Module:
    if isinstance(built, nn.Module):
        return built
    raise ModelError(f"Model {name!r} gave {type(built).__name__}, not an nn.Module; return the network.")
