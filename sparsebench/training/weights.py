"""Weights from elsewhere: carried over from a network of similar shape, or brought along in a file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import ModelError, reason
from sparsebench.models import published_as, published_weights
from sparsebench.pruning import all_weights, prunable_weights
from sparsebench.tensors import memory_of
from sparsebench.training.forms import in_form_of
from sparsebench.training.misfits import does_not_fit, likely_cause, refuse_unusual, refuse_values, shown
from sparsebench.training.state_dicts import (
    Named,
    StateDict,
    choose,
    read_state_dicts,
    weight_called,
    without_wrappers,
)


@torch.no_grad()
def copy_weights(old_net: nn.Module | Mapping[str, Any], net: nn.Module) -> nn.Module:
    """Copy what fits from an old network into a new one, in place.

    Of every parameter and buffer that both have by the same name, the block that overlaps is copied: a weight of shape
    (64, 16, 3, 3) fills the first 16 inputs of one of shape (32, 32, 3, 3) with those of its first 32 outputs. What
    lies outside the block keeps its own values. Entries that only one of the two has, or that differ in their number of
    dimensions, are left alone. Values are converted to the precision and the device of ``net``.

    Args:
        old_net: the old network or its state dict.
        net: the network that receives the weights.

    Returns:
        ``net`` itself.

    Raises:
        ModelError: where ``old_net`` is neither, or not one entry overlaps.
    """
    if not isinstance(old_net, nn.Module | Mapping):
        raise ModelError(
            f"Cannot copy weights from {type(old_net).__name__}; give the old network or its state dict as old_net."
        )
    old = old_net.state_dict() if isinstance(old_net, nn.Module) else old_net
    new = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    copied = sum(_copy_overlap(old[name], new[name]) for name in new if isinstance(old.get(name), Tensor))
    if new and not copied:
        raise ModelError(_nothing_fits(old, new))
    return net


def _copy_overlap(old: Tensor, new: Tensor) -> bool:
    if old.ndim != new.ndim:
        return False
    block = tuple(slice(min(sizes)) for sizes in zip(old.shape, new.shape, strict=True))
    if not new[block].numel():
        return False
    new[block].copy_(old[block])
    return True


def _nothing_fits(old: Mapping[str, Any], new: Mapping[str, Tensor]) -> str:
    differing = [
        f"{name} ({old[name].ndim} dimensions in the old network, {value.ndim} in the new)"
        for name, value in new.items()
        if isinstance(old.get(name), Tensor)
    ]
    if differing:
        return f"No weights could be copied: {', '.join(differing)}. Give an old network with the same kinds of layers."
    return (
        "No weights could be copied: the two networks share no parameter name. "
        f"The old one has {shown(list(old), 'none')}; the new one has {shown(list(new), 'none')}. "
        "Give the state dict itself, with the names of the network that receives it."
    )


@dataclass(frozen=True)
class Fitted:
    """What became of weights in a network.

    Attributes:
        tensors: how many of the network's tensors they filled.
        fresh: names of those that kept their own values.
        unexpected: names that the network does not have.
        part: where in a file they lay, for a sentence; empty where they were all of it.
        averaged: whether they are averages over training.
        passed_over: where the same file has weights that were not averaged; empty where it has none.
    """

    tensors: int
    fresh: tuple[str, ...]
    unexpected: tuple[str, ...]
    part: str = ""
    averaged: bool = False
    passed_over: str = ""


def load_weights(
    net: nn.Module,
    weights: str,
    model: str,
    input_shape: tuple[int, ...],
    options: Mapping[str, Any],
    new_head: bool = False,
    strict: bool = True,
) -> Fitted:
    """Load a checkpoint into a network, in place.

    Args:
        net: the network.
        weights: path of a file, ``pretrained``, or ``torchvision:NAME``.
        model: name of the network, for what is published with it.
        input_shape: shape of one sample, without the batch.
        options: keyword arguments that the network was built with.
        new_head: whether the classifier keeps its own values.
        strict: whether everything else must fit; otherwise what fits is loaded.

    Raises:
        ModelError: where the checkpoint cannot be had, or does not fit.
    """
    if published_as(weights) is None:
        found, what = read_state_dicts(Path(weights)), f"The checkpoint {weights!r}"
    else:
        published = published_weights(model, weights, input_shape, options)
        found, what = [StateDict(published)], f"The weights {weights!r} of {model}"
    return fit_state(net, found, what, new_head, strict)


@torch.no_grad()
def fit_state(
    net: nn.Module,
    found: Sequence[StateDict] | Mapping[str, Tensor],
    what: str,
    new_head: bool = False,
    strict: bool = True,
) -> Fitted:
    """Copy a state dict into a network, in place; it is unchanged where that is refused.

    Names may have any prefix, and what torch wraps around modules in them; weights may be in parts, see ``in_form_of``;
    what lies in one memory in the network is given by any of its names. The network's own hooks see the state dict
    first.

    Args:
        net: the network.
        found: tensors by name, of any precision; or the state dicts of a file, of which one is chosen.
        what: names the weights in an error.
        new_head: whether the classifier, the last layer with weights, keeps its own values.
        strict: whether everything else must fit; otherwise what fits is copied.

    Raises:
        ModelError: where something is missing, unexpected, of another shape or no ordinary number; all is listed.
    """
    own = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    parameters = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    plain = without_wrappers(list(own))
    state_dicts = [StateDict(found)] if isinstance(found, Mapping) else found
    named = choose(state_dicts, {short: name in parameters for short, name in plain.items()}, what)
    what = f"{what}, {named.part}," if named.part else what
    refuse_unusual(named, what)
    try:
        state = in_form_of(net, _seen_by_hooks(net, _own_names(named, plain)))
    except Exception as error:  # Hooks are the network's own, and parts of weights may be of any type and shape.
        raise ModelError(
            f"{what} cannot be brought into the form of {type(net).__name__}: {reason(error)} Save its weights as the "
            "network has them."
        ) from error
    head = _head(net, {*own, *state})
    left = head if new_head else set()
    given = {memory_of(own[name]): name for name in own if name in state}
    # Batch normalisation counts batches only since torch 0.4.1, and never reads the count in its default mode.
    counts = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [n for n, value in own.items() if memory_of(value) not in given and n not in left | counts]
    unexpected = [name for name in state if name not in own and name not in left]
    misfits = [n for n in own if n in state and own[n].shape != state[n].shape and n not in left]
    fitting = [name for name in own if name in state and name not in {*misfits, *left}]
    if not fitting and (missing or not left):
        raise ModelError(
            f"{what} and {type(net).__name__} have nothing in common: the checkpoint has {shown(list(state))}, "
            f"the network has {shown(list(own))}. {likely_cause(own, state, missing, unexpected, misfits)}"
        )
    if strict and (missing or unexpected or misfits):
        raise ModelError(does_not_fit(what, net, own, state, (missing, unexpected, misfits), head))
    refuse_values(own, {name: state[name] for name in fitting}, parameters, what)
    _load(net, {name: state[name].to(own[name].dtype) for name in fitting}, what)
    filled = {memory_of(own[name]) for name in fitting}
    return Fitted(
        tensors=sum(memory_of(value) in filled for value in own.values()),
        fresh=tuple(n for n, value in own.items() if memory_of(value) not in filled and n not in counts),
        unexpected=(*unexpected, *named.beside),
        part=named.part,
        averaged=named.averaged,
        passed_over=named.passed_over,
    )


def _head(net: nn.Module, names: Iterable[str]) -> set[str]:
    """Return those of some names that are of the classifier."""
    all_but = {weight.layer for weight in prunable_weights(net)}
    classifier = {weight.layer for weight in all_weights(net)} - all_but
    return {
        n for n in names if n.partition(".parametrizations.")[0] in classifier or n.rpartition(".")[0] in classifier
    }


def _own_names(named: Named, plain: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors by the network's own names; what it has not, by what is left of the file's name."""
    # Where the network is a wrapper itself, its names have a prefix that the file may lack.
    prefixes = [""]
    while len(heads := {name.removeprefix(prefixes[-1]).partition(".")[0] for name in plain}) == 1:
        prefixes.append(f"{prefixes[-1]}{heads.pop()}.")
    weights = {weight_called(name) for name in plain}
    fits = {prefix: sum(prefix + weight_called(name) in weights for name in named.state) for prefix in prefixes}
    prefix = max(prefixes, key=lambda prefix: fits[prefix])
    return {plain.get(prefix + name, prefix + name): value for name, value in named.state.items()}


def _seen_by_hooks(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict as the hooks of a network's modules make it before it is loaded."""
    seen: dict[str, Any] = dict(state)
    for name, module in net.named_modules():
        for hook in module._load_state_dict_pre_hooks.values():
            hook(seen, f"{name}." if name else "", {}, False, [], [], [])
    return {name: value for name, value in seen.items() if isinstance(value, Tensor)}


def _load(net: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    try:
        net.load_state_dict(state, strict=False)
    except Exception as error:
        for name, value in net.state_dict().items():
            if isinstance(value, Tensor):
                value.copy_(before[name])
        raise ModelError(f"{what} could not be loaded into {type(net).__name__}: {reason(error)}") from error
