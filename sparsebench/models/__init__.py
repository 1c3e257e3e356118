"""Networks by name, and what their factories share.

A new one is a file with a factory ``(num_classes, input_shape, …) -> nn.Module`` and a line in ``MODELS``. torch is
imported where it is used, so that names are listed in a blink.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from sparsebench.errors import ModelError, SparsebenchError
from sparsebench.models.as_built import plain
from sparsebench.registry import MODELS
from sparsebench.user_code import own_code, where_in_own_code

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
"""How the names of checkpoints end."""

_SHAPES_SHOWN = 4

PRETRAINED = "pretrained"
"""Stands for the weights that a library publishes with a network."""


def build_model(
    name: str, num_classes: int, input_shape: tuple[int, ...], options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a registered name, or ``package.module:callable`` for a class or a function that builds a network.
        num_classes: how many classes it tells apart; passed as ``classes`` to a factory that has this argument instead.
        input_shape: shape of one sample, without the batch.
        options: further keyword arguments; they win over the two above, which are passed only where they are accepted.

    Returns:
        The network.

    Raises:
        UnknownNameError: where no such model is known.
        ModelError: where the options do not fit, or what was built is no network.
        UserCodeError: where a factory of a user's own raises.
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
    passed: dict[str, Any] = {"num_classes": num_classes, "input_shape": input_shape} | options
    with suppress(ValueError):  # A compiled factory may not tell what it takes; then it is given both.
        signature = inspect.signature(factory)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            given = passed if "num_classes" in signature.parameters else {"classes": num_classes} | passed
            passed = {key: value for key, value in given.items() if key in {*signature.parameters, *options}}
        try:
            signature.bind(**passed)
        except TypeError as error:
            raise ModelError(
                f"Model {name!r} cannot be built with these options: {error}. "
                f"It takes {', '.join(signature.parameters) or 'no arguments'}."
            ) from error
    with own_code(("model", name if MODELS.is_own(name) else None)):
        built = factory(**passed)
    if not isinstance(built, nn.Module):
        raise ModelError(f"Model {name!r} gave {type(built).__name__}, not an nn.Module; return the network.")
    return plain(built)


def check_outputs(net: nn.Module, arguments: tuple[Any, ...], classes: int) -> None:
    """Check that a network takes a batch of a few samples, and has an output for each class, or a single one.

    Args:
        net: the network; it runs in evaluation mode.
        arguments: positional arguments of one forward pass, where the network is.
        classes: how many classes the data have.

    Raises:
        ModelError: where it does not.
    """
    import torch

    from sparsebench.tensors import cloned, tensors_in

    name, training = type(net).__name__, net.training
    try:
        with torch.no_grad():
            outputs = net.eval()(*cloned(arguments))
    except Exception as error:  # Whatever a network of the user's own may raise.
        reason = str(error).strip().partition("\n")[0]
        where = where_in_own_code(error)
        found = [str(tuple(tensor.shape)) for tensor in tensors_in(arguments)]
        more = f" and {len(found) - _SHAPES_SHOWN} more" if len(found) > _SHAPES_SHOWN else ""
        shapes = " and ".join(found[:_SHAPES_SHOWN]) + more
        several = f", as {len(arguments)} arguments," if len(arguments) > 1 else ""
        raise ModelError(
            f"{name} cannot take a batch of shape {shapes}{several} of these data "
            f"({type(error).__name__}: {reason}); choose a network for such samples, or options that fit it to them."
            f"{' ' * bool(where)}{where}"
        ) from error
    finally:
        net.train(training)
    scores = next(tensors_in(outputs), None)
    if scores is not None and scores.ndim == 2 and 1 < scores.shape[1] < classes:
        raise ModelError(
            f"{name} has {scores.shape[1]} outputs and the data have {classes} classes; "
            "build it with the number of classes of the data."
        )


def published_as(weights: str) -> tuple[str, str] | None:
    """Return the prefix of who published weights and their name, or None where ``weights`` is the path of a file.

    The prefix is empty for ``pretrained``: whoever provides the network.
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


def image_shape(model: str, input_shape: Sequence[int], smallest_side: int = 4) -> tuple[int, int, int]:
    """Return (C, H, W) of the images that a model shall take, of samples without the batch.

    Raises:
        ModelError: where the shape is not that of such an image, or H or W is below ``smallest_side``.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or min(shape[1:]) < smallest_side:
        raise ModelError(
            f"{model} takes images of shape (C, H, W) with H and W at least {smallest_side}, not samples of shape "
            f"{shape}; choose a model for such data, or give your own as 'package.module:callable'."
        )
    return shape[0], shape[1], shape[2]


@contextmanager
def download_in_words(what: str) -> Iterator[None]:
    """Turn whatever a library raises while it downloads ``what`` into a ModelError with its remedy."""
    try:
        with redirect_stdout(sys.stderr):  # Where progress belongs; torch.hub prints its own to stdout.
            yield
    except SparsebenchError:
        raise
    except Exception as error:  # Each library has its own for a network that is down.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{what} could not be downloaded or read: {reason}. Download them where there is a network, "
            "and give the path of the file as model.weights."
        ) from error
