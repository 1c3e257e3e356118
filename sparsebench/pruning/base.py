"""Which weights pruning may touch, what every pruner is, and what it asks of a threshold."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from sparsebench.errors import NoEffectWarning, PruningError
from sparsebench.registry import PRUNERS, options_problem

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
        seen.update(id(parameter) for _, parameter in _own_weights(layers.pop()[1]))
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


@runtime_checkable
class Pruner(Protocol):
    """A way of choosing the weights that become zero.

    A pruner is built with ``include_classifier`` (False by default), ``keep`` (patterns of layer names that are not
    pruned) and its own options, all as keywords. It may be called after every training step, so ``prune`` must be
    quick, and must give the same result when it is called twice with the same threshold.

    A pruner that reaches certain thresholds only says which in ``ONLY_THRESHOLDS``; they take the place of the sweep's.
    """

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Set the fraction ``threshold`` of the prunable weights of ``net`` to zero, in place, and return ``net``."""


class StructuralPruner(Pruner, Protocol):
    """A pruner that makes the tensors of a network smaller in place of setting weights to zero.

    Its ``threshold`` is the fraction of the prunable weights that is removed. It is not called after every training
    step, but at ``steps`` moments that divide the phase in which sparsity grows into equal parts: the last part trains
    the final structure.

    Attributes:
        structured: True; on the class, so that a run knows that smaller networks are to be expected.
        steps: how many times channels are removed during training, at least 1.
    """

    structured: bool
    steps: int

    def prepare(self, net: nn.Module, example: Any, target: float = 0.0) -> None:
        """Check that ``net`` can be pruned and warn of what cannot; called once, before training.

        Args:
            net: the network; it is not changed.
            example: inputs that it takes, on the CPU and in its precision.
            target: the threshold at which pruning will end, so that no step on the way leads past it.
        """

    def follow(self, optimizer: Optimizer) -> None:
        """Let an optimizer of the network go on with the parameters that the last ``prune`` left."""


def is_structural(pruner: Pruner) -> TypeGuard[StructuralPruner]:
    """Whether a pruner says of itself that it changes structures."""
    return bool(getattr(pruner, "structured", False))


class WeightPruner:
    """What the pruners of single weights have in common: which layers they touch.

    Args:
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns such as ``features.*``, that are not pruned.
    """

    def __init__(self, include_classifier: bool = False, keep: Collection[str] = ()) -> None:
        self.include_classifier = include_classifier
        self.keep = tuple(keep)

    def weights_of(self, net: nn.Module, threshold: float) -> tuple[PrunableWeight, ...]:
        """Return the weights that a threshold touches; none at 0.

        Raises:
            PruningError: where the threshold is out of range.

        Warns:
            NoEffectWarning: where the threshold is above 0 and nothing is prunable.
        """
        check_threshold(threshold)
        weights = prunable_weights(net, self.include_classifier, self.keep) if threshold else ()
        if threshold and not weights:
            warnings.warn(nothing_prunable(net), NoEffectWarning, stacklevel=3)
        return weights


def nothing_prunable(model: nn.Module) -> str:
    """Return the sentence that tells that ``model`` has no prunable weights."""
    return (
        f"Nothing was pruned: {type(model).__name__} has no Conv, Linear, LSTM or GRU weights besides its last such "
        "layer, the classifier. Set include_classifier=True to prune that layer too."
    )


def check_threshold(threshold: float) -> None:
    """Raise where ``threshold`` is no fraction in [0, 1).

    Raises:
        PruningError: below 0, at or above 1, or not a number.
    """
    # Written so that NaN, which fails every comparison, is refused as well.
    if not 0.0 <= threshold < 1.0:
        raise PruningError(
            f"The threshold {threshold!r} is not in [0, 1). "
            "It is the fraction of prunable weights set to zero, for example 0.8; 0 is the dense control."
        )


def build_pruner(
    name: str, options: Mapping[str, Any], include_classifier: bool = False, keep: Collection[str] = ()
) -> Pruner:
    """Return the pruner called ``name``.

    Args:
        name: a name in ``PRUNERS``.
        options: the pruner's own keyword arguments.
        include_classifier: whether the last prunable layer is pruned as well.
        keep: names of layers, or patterns, that are not pruned.

    Raises:
        UnknownNameError: where no such pruner is known.
        PruningError: where it does not take these options.
    """
    cls: Callable[..., Pruner] = PRUNERS.load(name)
    if problem := options_problem("Pruner", name, cls, options, ("include_classifier", "keep")):
        raise PruningError(problem)
    return cls(**{"include_classifier": include_classifier, "keep": tuple(keep), **options})
