"""Networks as people have them: trained ones, what builds one, or a name."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from sparsebench.errors import ModelError, reason
from sparsebench.live.digests import digest
from sparsebench.live.naming import as_named, called
from sparsebench.live.table import hold
from sparsebench.models import PRETRAINED
from sparsebench.models.as_built import is_lazy, plain
from sparsebench.registry import MODELS


class HeldNetwork:
    """A trained network: calling this gives a copy of it, and its weights are what it has published."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self) -> nn.Module:
        """Return a copy."""
        return copy.deepcopy(self._network)

    def published(self, weights: str, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> dict[str, Tensor]:  # noqa: ARG002 - what other providers need
        """Return the network's state dict."""
        return {name: value for name, value in self._network.state_dict().items() if isinstance(value, Tensor)}


class Given(NamedTuple):
    """A network for a config.

    Attributes:
        table: of ``[[model]]``.
        trained: whether there are weights, so that it is the dense network.
        live: whether it is a network object.
        short: what it is called in the name of a run.
    """

    table: dict[str, Any]
    trained: bool
    short: str
    live: bool = False


def take_network(network: Any, more: Mapping[str, Any]) -> Given:
    """Return a network as the config takes it; of a trained one a copy is held, and it stays as it is.

    Args:
        network: a trained ``nn.Module``; a class or function that builds one; a name or ``package.module:callable``; or
            a table of the config.
        more: further keys of its table.

    Raises:
        ModelError: where it is none of these, or cannot be copied.
    """
    if isinstance(network, Mapping):
        named = str(network.get("name", "network"))
        return Given({**network, **more}, bool(network.get("weights") or more.get("weights")), called(named))
    if isinstance(network, str):
        return Given({"name": network, **more}, bool(more.get("weights")), called(network))
    if isinstance(network, nn.Module):
        name = _held(network)
        return Given({"name": name, "weights": PRETRAINED, **more}, True, called(name), live=True)
    if callable(network):
        name = as_named(network, MODELS)
        return Given({"name": name, **more}, bool(more.get("weights")), called(name))
    raise ModelError(
        f"The network is a {type(network).__name__}; give a trained nn.Module, a class or function that builds one, or "
        "a name of 'sparsebench list models'."
    )


def _held(network: nn.Module) -> str:
    try:
        copied = plain(copy.deepcopy(network)).cpu()
    except ModelError:
        raise
    except Exception as error:  # What a module holds may refuse.
        raise ModelError(
            f"{type(network).__name__} cannot be copied: {type(error).__name__}: {reason(error)} Keep nothing in it "
            "that was computed with gradients (detach it), nor files or locks; or give what builds it, and its weights "
            "as model={'weights': PATH}."
        ) from error
    if is_lazy(copied):
        raise ModelError(
            f"{type(network).__name__} has layers whose sizes its first batch decides, so that it is not trained yet; "
            "give what builds it, or call it once."
        )
    for parameter in copied.parameters():
        parameter.grad = None
    name = type(copied).__name__
    return hold(f"{name}@{digest(copied, name)}", HeldNetwork(copied))
