"""The weights of a network that pruning may touch."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sparsebench.errors import PruningError

_CONVOLUTIONS_AND_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_RECURRENT = (nn.LSTM, nn.GRU)


@dataclass(frozen=True)
class PrunableWeight:
    """One weight of one layer.

    Attributes:
        name: the parameter's full name, for example ``features.0.weight`` or ``gru.weight_hh_l1_reverse``.
        layer: the full name of the module that holds it, for example ``features.0``; empty for the network itself.
        kind: the class name of that module, for example ``Conv2d``.
        parameter: the parameter itself, not a copy.
    """

    name: str
    layer: str
    kind: str
    parameter: nn.Parameter


def prunable_weights(
    net: nn.Module, include_classifier: bool = False, keep: Collection[str] = ()
) -> tuple[PrunableWeight, ...]:
    """Return the weights that pruning may touch, in the order in which the network registers them.

    These are the weights of ``Conv1d/2d/3d`` and ``Linear``, and of every layer and direction of ``LSTM`` and ``GRU``:
    input, hidden and, where there is one, projection. Biases and normalisation are never pruned. A parameter that
    several layers share is counted once. A weight that is computed from others (weight norm, for example) is left out,
    because zeros written to it would not last.

    Args:
        net: any network.
        include_classifier: whether the last prunable module in the order of registration counts too. It is left out by
            default, with every parameter that it shares.
        keep: names of layers, or patterns such as ``features.*``, that are left out as well.

    Returns:
        The weights; empty where nothing is prunable.

    Raises:
        PruningError: where a lazy layer has no weights yet.
    """
    layers = [(name, module) for name, module in net.named_modules() if any(_own_weights(module))]
    seen: set[int] = set()
    if layers and not include_classifier:
        _, classifier = layers.pop()
        seen.update(id(parameter) for _, parameter in _own_weights(classifier))
    found = []
    for layer, module in layers:
        for own_name, parameter in _own_weights(module):
            if id(parameter) in seen or any(fnmatchcase(layer, pattern) for pattern in keep):
                continue
            seen.add(id(parameter))
            name = f"{layer}.{own_name}" if layer else own_name
            if is_lazy(parameter):
                raise PruningError(
                    f"The weight {name} has no shape yet; run one batch through the network before it is pruned."
                )
            found.append(PrunableWeight(name, layer, type(module).__name__, parameter))
    return tuple(found)


def all_weights(net: nn.Module) -> tuple[PrunableWeight, ...]:
    """Return the weights of all layers of prunable kinds, the classifier among them."""
    return prunable_weights(net, include_classifier=True)


def sparsity(net: nn.Module, include_classifier: bool = False, keep: Collection[str] = ()) -> float:
    """Return the fraction of the prunable weights of ``net`` that is zero, in [0, 1]; 0 where nothing is prunable."""
    weights = prunable_weights(net, include_classifier, keep)
    return 1 - nonzero_elements(weights) / elements(weights) if weights else 0.0


def elements(weights: Collection[PrunableWeight]) -> int:
    """Return how many elements the weights have together."""
    return sum(weight.parameter.numel() for weight in weights)


def nonzero_elements(weights: Sequence[PrunableWeight]) -> int:
    """Return how many of them are not zero."""
    # Summed where the weights are, so that a GPU is waited for once.
    device = weights[0].parameter.device
    return int(torch.stack([torch.count_nonzero(weight.parameter.detach()).to(device) for weight in weights]).sum())


def _own_weights(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    if not isinstance(module, _CONVOLUTIONS_AND_LINEAR + _RECURRENT):
        return
    recurrent = isinstance(module, _RECURRENT)
    for name, parameter in module.named_parameters(recurse=False):
        if name == "weight" or (recurrent and name.startswith("weight_")):
            yield name, parameter
