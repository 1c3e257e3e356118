"""Networks by name. A new one is a file with a factory ``(num_classes, input_shape, …) -> nn.Module`` and a line in
``MODELS``. torch is imported where it is used, so that names are listed in a blink.
"""  # noqa: D205 - the sentence does not fit one line

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparsebench.errors import ModelError
from sparsebench.registry import MODELS

if TYPE_CHECKING:
    from torch import Tensor, nn

PRETRAINED = "pretrained"
"""Stands for the weights that a library publishes with a network."""


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
    from torch import nn

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


def check_outputs(net: nn.Module, inputs: Any, classes: int) -> None:
    """Check that a network takes a batch and gives logits for each class.

    Args:
        net: the network, on the CPU.
        inputs: a batch of two samples or one.
        classes: number of classes in the data.

    Raises:
        ModelError: where it does not.
    """
    import torch

    name, shape = type(net).__name__, tuple(getattr(inputs, "shape", ()))
    try:
        with torch.no_grad():
            outputs = net.eval()(inputs)
    except Exception as error:  # Whatever a network of the user's own may raise.
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{name} cannot take a batch{f' of shape {shape}' * bool(shape)} of these data "
            f"({type(error).__name__}: {reason}); choose a network for such samples, or options that fit it to them."
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
        found = f"shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ModelError(f"{name} gives outputs of {found}; it must give logits (N, classes) for each sample.")
    if outputs.shape[1] < classes:
        raise ModelError(
            f"{name} has {outputs.shape[1]} outputs and the data have {classes} classes; "
            "build it with the number of classes of the data."
        )


def published_as(weights: str) -> tuple[str, str] | None:
    """Return who published weights and their name, or None where ``weights`` is the path of a file.

    Args:
        weights: ``pretrained``, ``torchvision:NAME``, or a path.

    Returns:
        The prefix of the provider, empty for whoever provides the network, and the name of the weights.
    """
    if weights == PRETRAINED:
        return "", "DEFAULT"
    prefix, separator, name = weights.partition(":")
    return (prefix, name) if separator and prefix in MODELS.providers else None


def published_weights(
    name: str, weights: str, input_shape: tuple[int, ...], options: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """Return the state dict that a library publishes for a network; it is downloaded unless it is in the cache.

    Args:
        name: the network, as ``torchvision:resnet18``.
        weights: ``pretrained``, or ``torchvision:IMAGENET1K_V2``.
        input_shape: shape of one sample, without the batch.
        options: further keyword arguments that the network is built with.

    Raises:
        ModelError: where nothing is published for this network, or it cannot be downloaded.
        UnknownNameError: where no weights of this name are.
    """
    publisher, tag = published_as(weights) or ("", weights)
    factory = MODELS.load(name)
    if not hasattr(factory, "published") or publisher not in ("", name.partition(":")[0]):
        raise ModelError(
            f"No weights {weights!r} are published for model {name!r}; give the path of a checkpoint, or choose "
            "a network of torchvision:NAME or timm:NAME."
        )
    found: dict[str, Tensor] = factory.published(tag, tuple(input_shape), dict(options or {}))
    return found


def _network(name: str, built: object) -> nn.Module:
    from torch import nn

    if isinstance(built, nn.Module):
        return built
    raise ModelError(f"Model {name!r} gave {type(built).__name__}, not an nn.Module; return the network.")
