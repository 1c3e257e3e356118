"""The structure of a network: the sizes of its layers, which structured pruning changes and a saved network needs.

A network from which channels were removed does not fit the code that builds it. What differs is written down as plain
numbers and given to a freshly built network before the weights are loaded: no pickle, no tracing, no example inputs.
A live network is cut so that an optimizer in the middle of training can follow.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.errors import ModelError
from sparsebench.pruning.weights import nonzero_elements, prunable_weights

Size = int | tuple[int, ...]

# Plain data on the network itself, so that it lasts as long as the network and is copied with it.
_DENSE = "_sparsebench_dense_structure"


@dataclass(frozen=True)
class ModuleSizes:
    """The sizes that one module holds.

    Attributes:
        attributes: whole numbers and tuples of them that the module computes with, such as ``out_channels``.
        tensors: shape of each of its own parameters and buffers.
    """

    attributes: Mapping[str, Size] = field(default_factory=dict)
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Structure:
    """The sizes of modules, by the full name of each; empty where nothing differs."""

    modules: Mapping[str, ModuleSizes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.modules)

    def since(self, before: "Structure") -> "Structure":
        """Return only what differs from ``before``, the structure of the same network at an earlier time."""
        changed = {}
        for name, now in self.modules.items():
            then = before.modules.get(name, ModuleSizes())
            # Attributes that were not there before are notes of the library that pruned, no sizes.
            attributes = {k: v for k, v in now.attributes.items() if k in then.attributes and then.attributes[k] != v}
            tensors = {k: v for k, v in now.tensors.items() if then.tensors.get(k) != v}
            if attributes or tensors:
                changed[name] = ModuleSizes(attributes, tensors)
        return Structure(changed)

    def to_json(self) -> str:
        """Return the structure as JSON; the same structure gives the same text."""
        content = {name: asdict(sizes) for name, sizes in self.modules.items()}
        return json.dumps({"modules": content}, indent=1, sort_keys=True) + "\n"

    def save(self, path: Path) -> None:
        """Write ``to_json`` to a file."""
        path.write_text(self.to_json(), encoding="utf-8")

    @staticmethod
    def from_json(text: str) -> "Structure":
        """Return the structure that ``to_json`` wrote.

        Raises:
            ModelError: where the text is no such JSON.
        """
        try:
            return Structure(
                {
                    str(name): ModuleSizes(
                        {str(key): _size(value) for key, value in sizes["attributes"].items()},
                        {str(key): tuple(int(n) for n in shape) for key, shape in sizes["tensors"].items()},
                    )
                    for name, sizes in json.loads(text)["modules"].items()
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"This is no saved structure of a network ({error!r}); save the network again, or train it anew."
            ) from error


def structure_of(net: nn.Module) -> Structure:
    """Return the sizes of every module of a network."""
    return Structure({name: _sizes_of(module) for name, module in net.named_modules()})


@torch.no_grad()
def apply_structure(net: nn.Module, structure: Structure) -> nn.Module:
    """Give modules other sizes, in place. Their tensors keep the first values of each dimension; load weights next.

    The network goes on knowing how large it was, so that later thresholds count from there.

    Args:
        net: a network of the architecture that the structure is from, for example freshly built.
        structure: the sizes to take.

    Returns:
        ``net`` itself.

    Raises:
        ModelError: where the network has no such modules, or a size would grow; nothing is changed then.
    """
    modules = dict(net.named_modules())
    for name, sizes in structure.modules.items():
        _check_fits(name, modules.get(name), sizes)
    resize(net, structure, lambda _, old, shape: old.detach()[tuple(slice(size) for size in shape)].clone())
    return net


def resize(
    net: nn.Module, structure: Structure, part: Callable[[str, Tensor, tuple[int, ...]], Tensor]
) -> dict[nn.Parameter, nn.Parameter]:
    """Give the modules of a network the sizes of a structure, in place, and note how large they were.

    Args:
        net: the network.
        structure: the sizes to take.
        part: from the full name of a parameter or buffer, itself and its new shape to what takes its place.

    Returns:
        The new parameters, by those whose places they took.
    """
    if not hasattr(net, _DENSE):
        setattr(net, _DENSE, structure_of(net))
    replaced = {}
    for name, sizes in structure.modules.items():
        module = net.get_submodule(name)
        for key, value in sizes.attributes.items():
            setattr(module, key, value)
        for key, shape in sizes.tensors.items():
            old = getattr(module, key)
            new = part(f"{name}.{key}" if name else key, old, shape)
            if isinstance(old, nn.Parameter):
                module._parameters[key] = replaced[old] = nn.Parameter(new, requires_grad=old.requires_grad)
            else:
                module._buffers[key] = new
    return replaced


def changed_structure(net: nn.Module) -> Structure:
    """Return what removing channels has changed in a network since it was dense; empty where nothing was removed."""
    noted: Structure | None = getattr(net, _DENSE, None)
    return Structure() if noted is None else structure_of(net).since(noted)


def dense_shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape that each parameter of ``net`` had before channels were removed, by full name."""
    shapes = {n: tuple(p.shape) for n, p in net.named_parameters(remove_duplicate=False)}
    noted: Structure = getattr(net, _DENSE, Structure())
    for module, sizes in noted.modules.items():
        names = {f"{module}.{key}" if module else key: shape for key, shape in sizes.tensors.items()}
        shapes |= {name: shape for name, shape in names.items() if name in shapes}
    return shapes


def reached_sparsity(net: nn.Module, include_classifier: bool = False, keep: Collection[str] = ()) -> float:
    """Return the fraction of the prunable weights that is zero or has been removed with its channel, in [0, 1].

    Where no channels were removed it is ``sparsity``. 0 where nothing is prunable.
    """
    weights = prunable_weights(net, include_classifier, keep)
    shapes = dense_shapes(net)
    return 1 - nonzero_elements(weights) / sum(prod(shapes[weight.name]) for weight in weights) if weights else 0.0


def _sizes_of(module: nn.Module) -> ModuleSizes:
    held = {**module._parameters, **module._buffers}
    return ModuleSizes(
        {key: value for key, value in vars(module).items() if not key.startswith("_") and _is_size(value)},
        {key: tuple(tensor.shape) for key, tensor in held.items() if tensor is not None},
    )


def _check_fits(name: str, module: nn.Module | None, sizes: ModuleSizes) -> None:
    lost = module is None or not all(_is_size(getattr(module, key, None)) for key in sizes.attributes)
    for key, shape in sizes.tensors.items():
        tensor = getattr(module, key, None)
        whole = tuple(tensor.shape) if isinstance(tensor, Tensor) else ()
        lost |= len(whole) != len(shape) or any(new > old for new, old in zip(shape, whole, strict=False))
    if lost:
        raise ModelError(
            f"The structure of another network was given: its module {name!r} does not fit this one. "
            "Build the network as it was built for training, with the same options."
        )


def _is_size(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(_is_size(part) for part in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _size(value: Any) -> Size:
    size: Size = tuple(value) if isinstance(value, list) else value
    if not _is_size(size):
        raise ValueError(f"{value!r} is no size")
    return size


@dataclass(frozen=True)
class Shrinking:
    """What becomes of a network when certain channels are removed.

    Attributes:
        structure: the sizes that differ afterwards.
        kept: for each parameter and buffer that gets smaller, by full name, the positions in the flattened tensor of
            the elements that stay, in the shape that they then have.
    """

    structure: Structure
    kept: Mapping[str, Tensor]


Replaced = Mapping[nn.Parameter, tuple[nn.Parameter, Tensor]]
"""The parameter that took another's place, and which of the other's elements it holds."""


def observe_shrinking(net: nn.Module, remove: Callable[[], None]) -> Shrinking:
    """Return what ``remove`` does to the sizes and elements of ``net``, a copy that is of no use afterwards.

    Every element is replaced by its own position: whatever is cut, and however, the positions tell what is left.
    """
    before = structure_of(net)
    net.double()  # holds every position up to 2^53 exactly
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.arange(tensor.numel(), dtype=torch.double).view(tensor.shape))
    remove()
    structure = structure_of(net).since(before)
    held = dict([*net.named_parameters(), *net.named_buffers()])
    changed = [f"{name}.{key}" if name else key for name, sizes in structure.modules.items() for key in sizes.tensors]
    return Shrinking(structure, {name: held[name].detach().long() for name in changed})


@torch.no_grad()
def shrink(net: nn.Module, shrinking: Shrinking) -> Replaced:
    """Remove the channels from a network, in place; gradients are kept with the weights that they belong to."""
    kept = {old: shrinking.kept[name] for name, old in net.named_parameters() if name in shrinking.kept}
    replaced = resize(net, shrinking.structure, lambda name, old, _: _taken(old, shrinking.kept[name]))
    for old, new in replaced.items():
        new.grad = None if old.grad is None else _taken(old.grad, kept[old])
    return {old: (new, kept[old]) for old, new in replaced.items()}


@torch.no_grad()
def follow(optimizer: Optimizer, replaced: Replaced) -> None:
    """Let an optimizer go on with the parameters that took the place of its own.

    What it holds for each element, such as the averages of Adam, is cut like the parameter; what it holds for a whole
    parameter, such as the number of steps, stays. Groups, their learning rates and a scheduler on them are not touched.
    """
    for group in optimizer.param_groups:
        group["params"] = [replaced[old][0] if old in replaced else old for old in group["params"]]
    for old, (new, kept) in replaced.items():
        if old in optimizer.state:
            state = optimizer.state.pop(old)
            optimizer.state[new] = {
                key: _taken(value, kept) if isinstance(value, Tensor) and value.shape == old.shape else value
                for key, value in state.items()
            }


def _taken(tensor: Tensor, kept: Tensor) -> Tensor:
    # In the memory layout that it has; take gives a contiguous copy.
    taken = tensor.detach().take(kept.to(tensor.device))
    channels_last = tensor.dim() == 4 and not tensor.is_contiguous()
    return taken.contiguous(memory_format=torch.channels_last) if channels_last else taken
