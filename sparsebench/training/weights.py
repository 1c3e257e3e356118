"""Weights from elsewhere: carried over from a network of similar shape, or brought along in a file.

Files are read without running any code of theirs.
"""

import argparse
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sparsebench.errors import ModelError
from sparsebench.models import published_as, published_weights
from sparsebench.pruning import prunable_weights
from sparsebench.registry import nearest
from sparsebench.wording.text import first_of

_NAMES_SHOWN = 8


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


def shown(names: Sequence[Any], nothing: str = "nothing") -> str:
    """Return the first of some names, and how many more there are."""
    return first_of([str(name) for name in names], _NAMES_SHOWN) or nothing


_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network")
_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before each name."""

_SCALAR = np.float64(0).__reduce__()[0]
# Classes without behaviour that training scripts often save beside the weights.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
]


@dataclass(frozen=True)
class Fitted:
    """What became of weights in a network.

    Attributes:
        tensors: how many of the network's tensors they filled.
        fresh: names of those that kept their own values.
        unexpected: names that the network does not have.
    """

    tensors: int
    fresh: tuple[str, ...]
    unexpected: tuple[str, ...]


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
        state, what = read_state(Path(weights)), f"The checkpoint {weights!r}"
    else:
        state, what = published_weights(model, weights, input_shape, options), f"The weights {weights!r} of {model}"
    return fit_state(net, state, what, new_head, strict)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file of ``torch.save`` or safetensors, onto the CPU.

    It may lie under ``state_dict``, ``model`` and the like, and its names may begin with ``module.``. Nothing is
    unpickled but tensors and plain values.

    Raises:
        ModelError: where the file cannot be read so, or holds no state dict.
    """
    if not path.is_file():
        near = nearest(path.name, [file.name for file in path.parent.glob("*")]) if path.parent.is_dir() else None
        hint = f"Did you mean {str(path.parent / near)!r}?" if near else "Give the path of an existing file."
        raise ModelError(f"There is no checkpoint {str(path)!r}. {hint}")
    content = _read(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not state:
        found = f"a mapping of {shown(list(content))}" if isinstance(content, Mapping) else type(content).__name__
        raise ModelError(
            f"The checkpoint {str(path)!r} holds no state dict but {found}; save one with "
            "torch.save(network.state_dict(), path)."
        )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = next((line for line in str(error).splitlines() if "GLOBAL" in line), "").strip()
        why = (
            f"it holds Python objects, which are not unpickled ({refused})"
            if refused
            else "it is damaged, or no such file"
        )
        raise _unreadable(path, why) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise _unreadable(path, str(error).partition("\n")[0] or type(error).__name__) from error


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"The checkpoint {str(path)!r} cannot be read: {reason}. Give a file of torch.save(network.state_dict(), path) "
        "or of safetensors."
    )


@torch.no_grad()
def fit_state(
    net: nn.Module, state: Mapping[str, Tensor], what: str, new_head: bool = False, strict: bool = True
) -> Fitted:
    """Copy a state dict into a network, in place; it is unchanged where that is refused.

    Args:
        net: the network.
        state: tensors by name, of any precision.
        what: names the weights in an error.
        new_head: whether the classifier, the last layer with weights, keeps its own values.
        strict: whether everything else must fit; otherwise what fits is copied.

    Raises:
        ModelError: where something is missing, unexpected or of another shape; everything is listed.
    """
    own = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    classifier = {w.layer for w in prunable_weights(net, include_classifier=True)} - {
        w.layer for w in prunable_weights(net)
    }
    in_head = {name for name in {*own, *state} if name.rpartition(".")[0] in classifier}
    left = in_head if new_head else set()
    # Batch normalisation counts batches only since torch 0.4.1, and never reads the count in its default mode.
    counts = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in state and name not in left | counts]
    unexpected = [name for name in state if name not in own and name not in left]
    misfits = [n for n in own if n in state and own[n].shape != state[n].shape and n not in left]
    if strict and (missing or unexpected or misfits):
        raise ModelError(_does_not_fit(what, net, own, state, (missing, unexpected, misfits), in_head))
    fitting = [name for name in own if name in state and name not in {*misfits, *left}]
    if not fitting:
        raise ModelError(
            f"{what} and {type(net).__name__} have nothing in common: the checkpoint has {shown(list(state))}, "
            f"the network has {shown(list(own))}."
        )
    for name in fitting:
        own[name].copy_(state[name])
    fresh = [name for name in own if name not in {*fitting, *counts}]
    return Fitted(len(fitting), tuple(fresh), tuple(unexpected))


def _does_not_fit(
    what: str,
    net: nn.Module,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    problems: tuple[Sequence[str], Sequence[str], Sequence[str]],
    in_head: set[str],
) -> str:
    missing, unexpected, misfits = problems
    shapes = [f"{name} {tuple(state[name].shape)}, in the network {tuple(own[name].shape)}" for name in misfits]
    lines = [
        f"  - {len(names)} {said}: {shown(names)}."
        for names, said in (
            (missing, "of the network's tensors are missing"),
            (unexpected, "are not in the network"),
            (shapes, "have another shape"),
        )
        if names
    ]
    if misfits and not missing and not unexpected and set(misfits) <= in_head:
        remedy = (
            "Its classifier is of another size: set model.new_head = true for a new one, with which the dense network "
            "is then trained, or use the data that the checkpoint was trained on."
        )
    else:
        remedy = "Give the checkpoint of this very network, or set model.strict = false to load what fits of it."
    return "\n".join([f"{what} does not fit {type(net).__name__}:", *lines, remedy])
