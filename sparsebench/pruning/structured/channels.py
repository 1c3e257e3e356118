"""Which channels of a network can be removed, and together with which others: the dependency graph of torch-pruning.

torch-pruning follows a network through autograd and finds the layers that must lose the same channels. What it cannot
know, or takes for granted wrongly, is settled here: recurrent and attention layers, parameters outside of layers, tied
weights and the network's outputs are left as they are, and blocks of grouped convolutions stay of equal size.
"""

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sparsebench.errors import PruningError
from sparsebench.pruning.weights import prunable_weights
from sparsebench.tensors import mapped, tensors_in

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OPAQUE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that must be removed together, as torch-pruning found them.

    Attributes:
        root: full name of the layer whose outputs they are.
        full: torch-pruning's group of all of them.
        channels: how many outputs the root has.
        blocks: equal blocks that must lose the same channels; above 1 where a grouped convolution is among them.
        outputs: channels that a layer loses at its outputs for each one that the root loses, by its name.
        inputs: the same at its inputs.
        in_blocks: whether a grouped convolution is among them, which is not to become a depthwise one.
    """

    root: str
    full: Any
    channels: int
    blocks: int
    outputs: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, float] = field(default_factory=dict)
    in_blocks: bool = False

    def indices(self, units: Iterable[int]) -> list[int]:
        """Return the root's outputs that make up some units, see ``choices.Layer``."""
        size = self.channels // self.blocks
        return sorted(block * size + unit for unit in units for block in range(self.blocks))


class ChannelGraph:
    """The channels of a network that can be removed.

    Args:
        net: the network, in evaluation mode, on the CPU. It is held and not changed.
        example: inputs that it takes.
        include_classifier: whether the last prunable layer may lose outputs as well, where they are not the network's.
        keep: names of layers, or patterns, that keep all their weights.

    Attributes:
        groups: what can be removed, in the order of the network.
        left_alone: the modules, by name, that hold prunable weights and cannot lose channels, with the kind of each.

    Raises:
        PruningError: where torch-pruning cannot follow the network; the text carries its reason.
    """

    def __init__(self, net: nn.Module, example: Any, include_classifier: bool, keep: Collection[str]) -> None:
        self.net = net
        self.names = {module: name for name, module in net.named_modules()}
        prunable = {weight.layer for weight in prunable_weights(net, include_classifier, keep)}
        everything = {weight.layer for weight in prunable_weights(net, include_classifier=True)}
        kept = {layer for layer in everything if any(fnmatchcase(layer, pattern) for pattern in keep)}
        opaque = {name for name, module in net.named_modules() if _is_opaque(module)} | _tied(net)
        self.left_alone = {n: type(net.get_submodule(n)).__name__ for n in sorted(opaque & prunable)}
        self._whole = {net.get_submodule(name) for name in opaque | kept}
        self._whole_outputs = {net.get_submodule(name) for name in everything - prunable}
        self._marks: set[Any] = set()
        self.graph = self._trace(example)
        self.groups = tuple(self._find())

    def _trace(self, example: Any) -> Any:
        graph = tp.DependencyGraph()
        # It knows how to cut an LSTM, but not into what fits its neighbours; without it, its weights are in the way.
        graph.REGISTERED_PRUNERS.pop(tp.ops.OPTYPE.LSTM, None)
        for parameter in self.net.parameters():
            parameter.requires_grad_(parameter.is_floating_point())  # Only what autograd sees is followed.
        hooks = [
            hook
            for module in self._whole
            for hook in (
                module.register_forward_pre_hook(lambda _, *inputs: self._mark(inputs), with_kwargs=True),
                module.register_forward_hook(lambda _module, _args, outputs: self._mark(outputs)),
            )
        ]
        closed = [module for module in self._whole if _is_closed(module)]
        for module in closed:
            module.forward = _one_operation(module.forward)  # on a copy, for a while
        try:
            with self.following(), torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # By a function of ours: left to itself, torch-pruning first tries to unpack a batch into arguments.
                graph.build_dependency(self.net, example, forward_fn=lambda net, inputs: net(inputs), verbose=False)
        finally:
            for hook in hooks:
                hook.remove()
            for module in closed:
                del module.forward
        return graph

    def _mark(self, values: Any) -> None:
        # What flows into or out of a module that stays whole: the layers on its other side must not shrink.
        self._marks.update(tensor.grad_fn for tensor in tensors_in(values) if tensor.grad_fn is not None)

    def _find(self) -> Iterator[ChannelGroup]:
        with self.following():
            found = list(self.graph.get_all_groups(root_module_types=(tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)))
        for full in found:
            if not any(self._must_stay(dep) for dep, _ in full) and (group := self._group(full)):
                yield group

    def _must_stay(self, dep: Any) -> bool:
        node, loses_outputs = dep.target, self.graph.is_out_channel_pruning_fn(dep.handler)
        if node.type == tp.ops.OPTYPE.PARAMETER or node.module in self._whole:
            return True
        if not loses_outputs:
            return False
        return node.module in self._whole_outputs or node.grad_fn in self._marks or not node.outputs

    def _group(self, full: Any) -> ChannelGroup | None:
        root = full[0].dep.target.module
        channels = self.graph.get_out_channels(root)
        blocks, in_blocks = 1, False
        outputs: dict[str, float] = {}
        inputs: dict[str, float] = {}
        for (dep, indices), item in zip(full, full.items, strict=True):
            module = dep.target.module
            if not isinstance(module, nn.Module):
                continue
            loses_outputs = self.graph.is_out_channel_pruning_fn(dep.handler)
            split = _blocks(module)
            if split > 1:
                if list(indices) != list(range(channels)) or list(item.root_idxs) != list(range(channels)):
                    return None  # Its blocks would lie across several groups and lose different numbers of channels.
                blocks = math.lcm(blocks, split)
                in_blocks |= isinstance(module, tp.ops.TORCH_CONV)
            if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
                tally = outputs if loses_outputs else inputs
                tally[self.names[module]] = tally.get(self.names[module], 0.0) + len(indices) / channels
        if channels % blocks:
            return None
        return ChannelGroup(self.names[root], full, channels, blocks, outputs, inputs, in_blocks)

    def remove(self, surplus: Iterable[tuple[ChannelGroup, Sequence[int]]]) -> None:
        """Remove some units of groups, and what depends on them, from the network of this graph."""
        with self.following():
            for group, units in surplus:
                if units:
                    root = group.full[0].dep
                    self.graph.get_pruning_group(root.target.module, root.handler, group.indices(units)).prune()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Say in words that torch-pruning has lost its way.

        Raises:
            PruningError: in place of whatever is raised within; one that is raised there already is handed on.
        """
        try:
            yield
        except PruningError:
            raise
        except Exception as error:
            raise PruningError(
                f"The channels of {type(self.net).__name__} cannot be followed by torch-pruning "
                f"({type(error).__name__}: {error}); use another pruner for this network, such as 'magnitude'."
            ) from error


def _is_closed(module: nn.Module) -> bool:
    """Whether what a module does inside is not to be followed; one may say of itself that it ``keeps_channels``."""
    return isinstance(module, _OPAQUE) or getattr(module, "keeps_channels", False) is True


def _is_opaque(module: nn.Module) -> bool:
    """Whether the channels of a module cannot be cut: its kind is not known, or its weights are not its own."""
    if _is_closed(module) or is_parametrized(module):
        return True
    if isinstance(module, tp.ops.TORCH_CONV):
        odd = module.groups > 1 and (
            # torch-pruning takes the first for depthwise in part, and cuts the second along the wrong dimension.
            (module.in_channels != module.out_channels and module.groups in (module.in_channels, module.out_channels))
            or module.transposed
        )
        return odd or "weight" not in module._parameters
    return isinstance(module, nn.Linear) and "weight" not in module._parameters


def _tied(net: nn.Module) -> set[str]:
    # Modules that share a parameter with another.
    owners: dict[nn.Parameter, set[str]] = {}
    for name, module in net.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(parameter, set()).add(name)
    return set().union(*(names for names in owners.values() if len(names) > 1))


def _blocks(module: nn.Module) -> int:
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    if isinstance(module, tp.ops.TORCH_CONV) and module.groups != module.out_channels:
        return int(module.groups)
    return 1


def _one_operation(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``forward`` with nothing to be seen between its inputs and its outputs but one operation.

    What recurrent layers do inside, step by step, has nothing in it that could be cut, and leads astray who follows it.
    """

    def closed(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            outputs = forward(*args, **kwargs)
        inputs = [tensor for tensor in tensors_in((args, kwargs)) if tensor.is_floating_point()]
        # So that the operation is there also where no input comes from a layer.
        anchor = torch.zeros((), requires_grad=True)

        def through(value: Any) -> Any:
            floating = isinstance(value, Tensor) and value.is_floating_point()
            return _Through.apply(value, anchor, *inputs) if floating else value

        # Packed sequences are tuples; mappings stay the objects that they are.
        return mapped(outputs, through, lambda value: isinstance(value, Tensor | Mapping))

    return closed


class _Through(torch.autograd.Function):
    """Hands on a tensor as if it had been computed from all the inputs. Nobody differentiates it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *inputs: Tensor) -> Tensor:  # noqa: ARG004 - the signature of a Function
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError
