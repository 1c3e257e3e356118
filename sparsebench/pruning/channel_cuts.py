"""Between the channels of a network and the search for their numbers: what may be cut, and what a cut removes."""

from collections.abc import Collection, Sequence
from math import ceil

from torch import Tensor, nn

from sparsebench.pruning.channel_counts import Layer, rounding_step
from sparsebench.pruning.channels import ChannelGraph, ChannelGroup
from sparsebench.pruning.layers import prunable_weights
from sparsebench.pruning.structure import dense_numel, dense_shapes

# Ranked over all layers, a layer that is small beside the others would else be left with a single channel.
_LEAST_SHARE_BY_GLOBAL_RANKING = 0.1


class Choice:
    """A group of channels, how many of them may be left, and in which order its units go."""

    def __init__(
        self, net: nn.Module, group: ChannelGroup, scores: Tensor, round_to: int, global_ranking: bool
    ) -> None:
        root = net.get_submodule(group.root)
        dense = dense_shapes(net)[f"{group.root}.weight" if group.root else "weight"]
        units = dense[1 if getattr(root, "transposed", False) else 0] // group.blocks
        least = ceil(_LEAST_SHARE_BY_GLOBAL_RANKING * units) if global_ranking else 1
        # With one channel to a block, a grouped convolution would pass for a depthwise one the next time.
        least = max(least, 2 if group.in_blocks else 1)
        self.group = group
        self.order = scores.argsort(stable=True).tolist()
        self.layer = Layer(
            now=group.channels // group.blocks,
            dense=units,
            step=rounding_step(round_to, group.blocks),
            least=least,
            scores=tuple(scores[self.order].tolist()),
        )


class WeightCounter:
    """Counts, without touching the network, the prunable weights that would be gone."""

    def __init__(
        self, net: nn.Module, groups: Sequence[ChannelGroup], include_classifier: bool, keep: Collection[str]
    ) -> None:
        self.groups = groups
        self.fixed = 0
        self.layers: list[tuple[int, int, int, dict[int, float], dict[int, float]]] = []
        dense = dense_numel(net)
        self.dense = 0
        for weight in prunable_weights(net, include_classifier, keep):
            self.dense += dense[weight.name]
            outputs = {i: g.outputs[weight.layer] for i, g in enumerate(groups) if weight.layer in g.outputs}
            inputs = {i: g.inputs[weight.layer] for i, g in enumerate(groups) if weight.layer in g.inputs}
            if not outputs and not inputs:
                self.fixed += weight.parameter.numel()
                continue
            # The inputs of a grouped convolution shrink block by block, those of a depthwise one not at all.
            size, blocks = weight.parameter.shape, getattr(net.get_submodule(weight.layer), "groups", 1)
            inputs = {i: share / blocks for i, share in inputs.items()}
            self.layers.append((size[0], size[1], size[2:].numel(), outputs, inputs))

    def removed(self, kept: Sequence[int]) -> float:
        """Return the fraction of the dense network's prunable weights that is gone, from the units each group keeps."""
        gone = [group.channels - units * group.blocks for group, units in zip(self.groups, kept, strict=True)]
        left = float(self.fixed)
        for out_channels, in_channels, kernel, outputs, inputs in self.layers:
            out_left = out_channels - sum(gone[i] * share for i, share in outputs.items())
            in_left = in_channels - sum(gone[i] * share for i, share in inputs.items())
            left += out_left * in_left * kernel
        return 1 - left / self.dense


def remove_surplus(graph: ChannelGraph, choices: Sequence[Choice], kept: Sequence[int]) -> None:
    """Remove from the network of ``graph`` the least important units of each group, so that ``kept`` are left."""
    for choice, units in zip(choices, kept, strict=True):
        surplus = choice.order[: choice.layer.now - units]
        if surplus:
            graph.remove(choice.group, choice.group.indices(surplus))
