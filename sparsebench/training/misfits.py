"""Why a checkpoint and a network do not fit: what is told, and the likely cause with its remedy."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import ModelError
from sparsebench.pruning import all_weights
from sparsebench.tensors import memory_of
from sparsebench.training.state_dicts import Named
from sparsebench.wording.text import first_of

_NAMES_SHOWN = 8
_QUANTIZED = ("scale", "zero_point", "_packed_params", "dtype")


def shown(names: Sequence[Any], nothing: str = "nothing") -> str:
    """Return the first of some names, and how many more there are."""
    return first_of([str(name) for name in names], _NAMES_SHOWN) or nothing


def refuse_unusual(named: Named, what: str) -> None:
    """Refuse tensors that are no plain arrays of real numbers.

    Raises:
        ModelError: with the name of each in the file, and what it is.
    """
    found = [f"{named.called[name]} ({kind})" for name, value in named.state.items() if (kind := _unusual(value))]
    if found:
        raise ModelError(
            f"{what} holds tensors that cannot be weights: {shown(found)}. Save the weights as they are on the CPU, "
            "dense and as real floating-point numbers; of a quantized network, give the float checkpoint that it is of."
        )


def _unusual(value: Tensor) -> str:
    if value.is_meta:
        return "meta, without values"
    if value.is_quantized:
        return "quantized"
    if value.layout is not torch.strided:
        return "sparse"
    return "complex" if value.is_complex() else ""


def refuse_values(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], parameters: Collection[str], what: str
) -> None:
    """Refuse values that a network cannot hold, and two for one weight.

    Infinity is allowed in buffers, where masks of attention have it.

    Raises:
        ModelError: with the name of each, and what it is.
    """
    found = [
        f"{name} ({kind})" for name, value in state.items() if (kind := _no_value(own[name], value, name in parameters))
    ]
    if found:
        raise ModelError(
            f"{what} holds values that the network cannot take: {shown(found)}. The training that wrote it may have "
            "diverged, or it is of a quantized network; give a sound checkpoint in floating point."
        )
    differing = [f"{first} and {second}" for first, second in _pairs(own, state)]
    if differing:
        raise ModelError(
            f"{what} holds two different values for what is one weight in the network: {shown(differing)}. It is of a "
            "network in which they are not shared; build the network without sharing them."
        )


def _no_value(own: Tensor, value: Tensor, is_parameter: bool) -> str:
    dtype = str(value.dtype).removeprefix("torch.")
    if own.is_floating_point() and not value.is_floating_point():
        return f"{dtype}, where floating point is expected"
    if not own.is_floating_point() and value.is_floating_point():
        # Whole networks are cast to half precision, with their counters.
        return "" if bool((value == value.round()).all()) else f"{dtype}, where whole numbers are expected"
    if not value.is_floating_point():
        return ""
    values = value.to(own.dtype) if value.dtype.itemsize > 1 else value.float()
    if bool(torch.isnan(values).any()):
        return "NaN"
    return "infinite" if is_parameter and not bool(torch.isfinite(values).all()) else ""


def _pairs(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield names of one memory whose values differ; views of other shapes are not compared."""
    first: dict[Any, str] = {}
    for name, value in state.items():
        other = first.setdefault(memory_of(own[name]), name)
        if other != name and state[other].shape == value.shape and not torch.equal(state[other], value):
            yield other, name


def does_not_fit(
    what: str,
    net: nn.Module,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    problems: tuple[Sequence[str], Sequence[str], Sequence[str]],
    in_head: Collection[str],
) -> str:
    """Return what does not fit between a checkpoint and a network, and what to do about it.

    Args:
        what: names the checkpoint.
        net: the network.
        own: its tensors.
        state: those of the checkpoint, by the network's names.
        problems: names that are missing, unexpected, and of another shape.
        in_head: names that are of the classifier.
    """
    missing, unexpected, misfits = problems
    shapes = [f"{name} {tuple(state[name].shape)}, in the network {tuple(own[name].shape)}" for name in misfits]
    lines = [
        f"  - {len(names)} {said}: {shown(names)}."
        for names, said in (
            (missing, f"of the network's {len(own)} tensors are missing"),
            (unexpected, "are not in the network"),
            (shapes, "have another shape"),
        )
        if names
    ]
    if misfits and not missing and not unexpected and set(misfits) <= set(in_head):
        remedy = (
            "Its classifier is of another size: set model.new_head = true for a new one, with which the dense network "
            "is then trained, or use the data that the checkpoint was trained on."
        )
    else:
        remedy = likely_cause(own, state, missing, unexpected, misfits)
        matrices = {weight.name for weight in all_weights(net)}
        if not matrices & {*missing, *misfits}:
            remedy += " Or set model.strict = false to load what fits of it: every layer gets its weights."
    return "\n".join([f"{what} does not fit {type(net).__name__}:", *lines, remedy])


def likely_cause(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    misfits: Sequence[str],
) -> str:
    """Return why a checkpoint probably does not fit, and what to do."""
    if any(name.rpartition(".")[2] in _QUANTIZED for name in unexpected):
        return "It is of a quantized network; give the float checkpoint that this one was made of."
    parts = [name for name in missing if "parametrizations." in name or name.endswith(("_orig", "_u", "_v", "_g"))]
    if parts and not misfits:
        return (
            f"The network computes weights from others ({parts[0]}), which the checkpoint has not; give a checkpoint "
            "of it as it is, or build it with plain weights."
        )
    if missing and not misfits and [own[name].shape for name in missing] == [state[name].shape for name in unexpected]:
        return (
            "Tensors of the same shapes stand in it in the same order under other names "
            f"({unexpected[0]} for {missing[0]}): rename its entries to those of the network."
        )
    if missing and unexpected:
        return "It is of another network, or of another version of its code; give the checkpoint of this very network."
    if misfits:
        return "The network is built in other sizes; set model.options to those that the checkpoint was trained with."
    if missing:
        return "It is of a smaller network, or only a part of one; build the network as it was built for that training."
    return (
        "It is of a larger network, or of one with further parts; build the network as it was built for that training."
    )
