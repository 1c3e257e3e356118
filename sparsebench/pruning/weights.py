"""Which weights of a network pruning may touch, and which are out of its reach."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from sparsebench.errors import PruningError
from sparsebench.pruning.computed import Computed, computed, is_computed
from sparsebench.tensors import memory_of
from sparsebench.wording.text import first_of

_CONVOLUTIONS_AND_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_RECURRENT = (nn.LSTM, nn.GRU)
_OF_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

_OUT_OF_REACH = 0.05
"""Share of a network's matrix weights that may be out of reach of pruning before it is said."""

_NAMES_SHOWN = 8


@dataclass(frozen=True)
class PrunableWeight:
    """One weight of one layer.

    Attributes:
        name: full name of the parameter, for example ``features.0.weight`` or ``gru.weight_hh_l1_reverse``.
        layer: the full name of the module that holds it, for example ``features.0``; empty for the network itself.
        kind: the class name of that module, for example ``Conv2d``.
        parameter: the parameter itself, not a copy. Where the layer computes its weight, it is the one that holds the
            weight's zeros, such as the directions ``v`` of weight norm: in its shape, with other values.
        own_name: name of the weight within the layer; with weight norm ``weight``, whatever the parameter is called.
        computed: how the layer computes it; None for a weight that is a parameter.
    """

    name: str
    layer: str
    kind: str
    parameter: nn.Parameter
    own_name: str = "weight"
    computed: Computed | None = None

    @property
    def weight_name(self) -> str:
        """Full name of the weight as its layer uses it, which is the parameter's own where nothing is computed."""
        return f"{self.layer}.{self.own_name}" if self.layer else self.own_name

    def values(self) -> Tensor:
        """Return the weight as the layer uses it, detached; it is the parameter's own memory where it is one."""
        return self.parameter.detach() if self.computed is None else self.computed.values()

    @torch.no_grad()
    def zero(self, zeros: Tensor) -> None:
        """Make elements of the weight zero, in place.

        Args:
            zeros: bool in the shape of the weight, True where it becomes zero.

        Raises:
            PruningError: where the layer could not compute what is left, see ``Computed.zero``.
        """
        if self.computed is None:
            self.parameter.masked_fill_(zeros.to(self.parameter.device), 0)
        else:
            self.computed.zero(zeros, self.weight_name)


def prunable_weights(
    net: nn.Module, include_classifier: bool = False, keep: Collection[str] = ()
) -> tuple[PrunableWeight, ...]:
    """Return the weights that pruning may touch, in the order in which the network registers them.

    These are the weights of ``Conv1d/2d/3d`` and ``Linear``; of every layer and direction of ``LSTM`` and ``GRU``:
    input, hidden and, where there is one, projection; and the projections of ``MultiheadAttention``, its output's
    among them. Biases and normalisation are never pruned. What lies in the same memory is one weight and is counted
    once, whether layers share a parameter or have parameters that do. A weight that is computed from others is among
    them where zeros last in it, see ``sparsebench.pruning.computed``; otherwise it is left out.

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
    layers = [(name, module) for name, module in net.named_modules() if any(_names_of_weights(module))]
    seen: set[Hashable] = set()
    if layers and not include_classifier:
        seen.update(memory_of(weight.parameter) for weight in _own_weights(*layers.pop()))
    found = []
    for layer, module in layers:
        if any(fnmatchcase(layer, pattern) for pattern in keep):
            continue
        for weight in _own_weights(layer, module):
            if (place := memory_of(weight.parameter)) not in seen:
                seen.add(place)
                found.append(weight)
    return tuple(found)


def all_weights(net: nn.Module) -> tuple[PrunableWeight, ...]:
    """Return the weights of all layers of prunable kinds, the classifier among them."""
    return prunable_weights(net, include_classifier=True)


def rows_of_layers(net: nn.Module) -> dict[str, str]:
    """Return, for each layer whose weights ``all_weights`` has, the layer under which it has them.

    It is another one for a layer that shares its weights with one before it.
    """
    row_of: dict[Hashable, str] = {}
    found: dict[str, str] = {}
    for layer, module in net.named_modules():
        for weight in _own_weights(layer, module):
            found.setdefault(layer, row_of.setdefault(memory_of(weight.parameter), layer))
    return found


def weight_of(net: nn.Module, name: str) -> PrunableWeight:
    """Return the weight of any layer whose zeros a parameter holds, by the parameter's full name.

    Raises:
        AttributeError: where the network has no such parameter.
    """
    parameter = net.get_parameter(name)
    layer, parametrized, rest = name.partition("parametrizations.")
    layer, own_names = layer.removesuffix("."), [rest.partition(".")[0]]
    if not parametrized:
        layer, _, held = name.rpartition(".")
        own_names = [held, held.removesuffix("_v"), held.removesuffix("_orig")]
    module = net.get_submodule(layer)
    for own_name in own_names:
        how = computed(module, own_name)
        if how is not None and how.parameter is parameter:
            return PrunableWeight(name, layer, _class_of(module), parameter, own_name, how)
    return PrunableWeight(name, layer, _class_of(module), parameter, own_names[0])


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
    return int(torch.stack([torch.count_nonzero(weight.values()).to(device) for weight in weights]).sum())


def out_of_reach(net: nn.Module) -> str | None:
    """Return which of a network's matrix weights cannot be pruned, a sentence; None where they are few.

    Matrix weights are parameters of which at least two dimensions are larger than 1, but for those of normalisation.
    The classifier is not among them, and no layer that is kept on purpose: these could be pruned.
    """
    prunable = {memory_of(weight.parameter) for weight in all_weights(net)}
    lost, seen, total = [], set[Hashable](), 0
    for layer, module in net.named_modules():
        for own_name, parameter in module.named_parameters(recurse=False):
            place = memory_of(parameter)
            if place in seen or sum(size > 1 for size in parameter.shape) < 2 or isinstance(module, _NORMS):
                continue
            seen.add(place)
            total += parameter.numel()
            if place not in prunable:
                name = f"{layer}.{own_name}" if layer else own_name
                lost.append((f"{name} ({_kind(net, layer)})", parameter.numel()))
    share = sum(count for _, count in lost) / total if total else 0.0
    if share <= _OUT_OF_REACH:
        return None
    return (
        f"{100 * share:.1f} % of the network's matrix weights cannot be pruned and stay dense: "
        f"{first_of([name for name, _ in lost], _NAMES_SHOWN)}. Sparsity is counted among the others, which are the "
        "weights of Conv, Linear, LSTM, GRU and MultiheadAttention, computed ones where zeros last in them."
    )


def _kind(net: nn.Module, layer: str) -> str:
    # A parametrized weight belongs to the layer, not to the module that computes it.
    layer, computed_by, _ = layer.partition("parametrizations.")
    kind = _class_of(net.get_submodule(layer.removesuffix(".")))
    return f"{kind}, computed" if computed_by else kind


def _class_of(module: nn.Module) -> str:
    # Of a parametrized module, torch makes a class of its own.
    kind = type(module)
    return (kind.__mro__[1] if parametrize.is_parametrized(module) else kind).__name__


def _names_of_weights(module: nn.Module) -> Iterator[str]:
    """Yield the names of the weights of a prunable kind of module that are parameters, or computed in a known way."""
    names: Sequence[str] = ()
    if isinstance(module, _CONVOLUTIONS_AND_LINEAR):
        names = ("weight",)
    elif isinstance(module, _RECURRENT):
        names = [name for name in module._flat_weights_names if name.startswith("weight_")]
    elif isinstance(module, nn.MultiheadAttention):
        names = _OF_ATTENTION
    for name in names:
        if module._parameters.get(name) is not None or is_computed(module, name):
            yield name


def _own_weights(layer: str, module: nn.Module) -> Iterator[PrunableWeight]:
    for own_name in _names_of_weights(module):
        parameter, how = module._parameters.get(own_name), None
        if parameter is None:
            how = computed(module, own_name)
            if how is None:
                continue
            parameter = how.parameter
        held = how.carrier if how else own_name
        name = f"{layer}.{held}" if layer else held
        if is_lazy(parameter):
            raise PruningError(
                f"The weight {name} has no shape yet; run one batch through the network before it is pruned."
            )
        yield PrunableWeight(name, layer, _class_of(module), parameter, own_name, how)
