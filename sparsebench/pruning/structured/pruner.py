"""Structured pruning: whole channels are removed, so that the network gets smaller and faster in dense kernels."""

import copy
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from sparsebench.errors import NoEffectWarning, PruningError, UnreachedWarning
from sparsebench.pruning.base import check_threshold, nothing_prunable
from sparsebench.pruning.per_layer import check_patterns
from sparsebench.pruning.structure import Replaced, Shrinking, follow, observe_shrinking, shrink
from sparsebench.pruning.structured.channels import ChannelGraph
from sparsebench.pruning.structured.choices import (
    IMPORTANCES,
    REACHED_WITHIN,
    Choice,
    WeightCounter,
    check_network,
    choose_counts,
    copy_gradients,
    group_scores,
)
from sparsebench.pruning.weights import prunable_weights
from sparsebench.registry import unknown_name


class Structured:
    """The pruner ``structured``: the least important channels are removed, by the dependency graph of torch-pruning.

    The threshold is the fraction of the prunable weights that is removed, out of those of the dense network: as layers
    lose inputs as well as outputs, 0.75 leaves about half of the channels. The number of channels is searched for; by
    ``round_to`` it may not be met to the point, and an ``UnreachedWarning`` tells the reason where it is missed by more
    than one point. What was removed does not come back at a lower threshold.

    The outputs of the network always stay, with ``include_classifier`` too, which then only counts the weights of the
    last prunable layer among the prunable ones: its inputs shrink in any case. Layers in ``keep`` lose neither outputs
    nor inputs, so that their neighbours keep the channels in between. Recurrent and attention layers, tied weights and
    what touches a parameter outside of layers are left alone, and so is what flows through a module that says of itself
    ``keeps_channels = True``, because it tells channels apart by their position.

    Args:
        include_classifier: whether the weights of the last prunable layer count as prunable.
        keep: names of layers, or patterns such as ``features.*``, that stay as they are.
        importance: what a channel is worth: ``l1`` or ``l2`` (magnitude of all weights that would go with it),
            ``taylor`` (weight × gradient of the last backward pass), ``bn_scale`` (of batch normalisation), ``lamp``
            (layer-adaptive magnitude), or ``random``.
        round_to: channels that are left are a multiple of this, which fast kernels like; 1 for any number.
        steps: in how many moments of training channels are removed.
        global_ranking: whether channels of all layers are ranked together (a layer keeps at least a tenth); otherwise
            every layer keeps the same share.
        seed: which channels ``random`` chooses.

    Raises:
        PruningError: where an option is not allowed.
    """

    structured = True

    def __init__(
        self,
        include_classifier: bool = False,
        keep: Collection[str] = (),
        importance: Literal["l1", "l2", "taylor", "bn_scale", "lamp", "random"] = "l2",
        round_to: int = 8,
        steps: int = 5,
        global_ranking: bool = False,
        seed: int = 0,
    ) -> None:
        if importance not in IMPORTANCES:
            raise PruningError(unknown_name("importance", importance, IMPORTANCES))
        for name, value in (("round_to", round_to), ("steps", steps)):
            if not isinstance(value, int) or value < 1:
                raise PruningError(f"{name} is {value!r}; it must be a whole number from 1 up.")
        self.include_classifier = include_classifier
        self.keep = tuple(keep)
        self.importance = importance
        self.round_to = round_to
        self.steps = steps
        self.global_ranking = global_ranking
        self.seed = seed
        self._example: tuple[Any] | None = None
        self._target = 0.0
        self._replaced: Replaced = {}

    def prepare(self, net: nn.Module, example: Any, target: float = 0.0) -> None:
        """Check that channels of ``net`` can be removed, and remember inputs with which it can be followed.

        Args:
            net: the network; it is not changed.
            example: inputs that it takes, on the CPU and in its precision; two samples are enough.
            target: the threshold at which pruning will end: at lower ones, no layer then loses more than it will lose
                there. It makes several steps reach what one would.

        Raises:
            PruningError: where it cannot be pruned; the text says why.

        Warns:
            NoEffectWarning: where no channel can be removed, or prunable layers must be left alone.
        """
        _check_masks(net)
        check_patterns(self.keep, {weight.layer for weight in prunable_weights(net, self.include_classifier)})
        check_network(self.importance, net)
        self._example, self._target = (example,), target
        graph = self._graph(_copied(net))
        alone = ", ".join(f"{name} ({kind})" for name, kind in graph.left_alone.items())
        problem = ""
        if not prunable_weights(net, self.include_classifier, self.keep):
            problem = nothing_prunable(net)
        elif not graph.groups:
            because = f" {alone} cannot lose channels." if alone else " What its layers give out must keep its size."
            problem = (
                f"Nothing was pruned: structured pruning finds no channels to remove in {type(net).__name__}.{because} "
                "Use another pruner, such as 'magnitude'."
            )
        elif alone:
            problem = f"Structured pruning leaves {alone} as they are: layers of these kinds cannot lose channels."
        if problem:
            warnings.warn(problem, NoEffectWarning, stacklevel=2)

    def prune(self, net: nn.Module, threshold: float) -> nn.Module:
        """Remove channels until the fraction ``threshold`` of the prunable weights is gone, in place.

        The parameters that get smaller are new ones; call ``follow`` for an optimizer that holds the old.

        Raises:
            PruningError: where the threshold is out of range, ``prepare`` was not called, a weight is NaN or infinite,
                or the network cannot be pruned; it is unchanged then.

        Warns:
            UnreachedWarning: where more than one point is missing, or too much; the text says why.
        """
        check_threshold(threshold)
        self._replaced = {}
        if threshold == 0 or not prunable_weights(net, self.include_classifier, self.keep):
            return net
        _check_masks(net)
        copied = _copied(net)
        if self.importance == "taylor":
            copy_gradients(net, copied)
        graph = self._graph(copied)
        with graph.following():
            scores = [group_scores(group, self.importance, self.seed) for group in graph.groups]
        choices = [
            Choice(net, group, found, self.round_to, self.global_ranking)
            for group, found in zip(graph.groups, scores, strict=True)
            if found is not None
        ]
        if not choices:  # prepare has told.
            return net
        counter = WeightCounter(net, [choice.group for choice in choices], self.include_classifier, self.keep)
        layers = [choice.layer for choice in choices]
        if threshold < self._target:
            least = choose_counts(layers, counter.removed, self._target, self.global_ranking)
            layers = [replace(layer, least=units) for layer, units in zip(layers, least, strict=True)]
        kept = choose_counts(layers, counter.removed, threshold, self.global_ranking)
        surplus = [(c.group, c.order[: c.layer.now - units]) for c, units in zip(choices, kept, strict=True)]
        if any(units for _, units in surplus):
            shrinking = observe_shrinking(copied, lambda: graph.remove(surplus))
            self._check_runs(net, shrinking)
            self._replaced = shrink(net, shrinking)
        self._tell(counter.removed(kept), threshold, [layer.levels[-1] for layer in layers] == kept, graph)
        return net

    def follow(self, optimizer: Optimizer) -> None:
        """Let an optimizer go on with the parameters that the last ``prune`` left; see ``structure.follow``."""
        follow(optimizer, self._replaced)

    def _graph(self, copied: nn.Module) -> ChannelGraph:
        if self._example is None:
            raise PruningError(
                "Structured pruning needs inputs to follow the network with; call prepare(net, example) first."
            )
        # Layers may draw random numbers even in evaluation mode; training shall go on with those it would have drawn.
        with torch.random.fork_rng(devices=[]):
            return ChannelGraph(copied.eval(), self._example[0], self.include_classifier, self.keep)

    def _check_runs(self, net: nn.Module, shrinking: Shrinking) -> None:
        # A copy without the channels, before the network itself is touched.
        example = self._example[0] if self._example else None
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                before = _shape(_copied(net).eval()(example))
                smaller = _copied(net)
                shrink(smaller, shrinking)
                after = _shape(smaller.eval()(example))
                problem = "" if after == before else f"its outputs have the shape {after} in place of {before}"
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
        if problem:
            names = ", ".join(list(shrinking.structure.modules)[:5])
            raise PruningError(
                f"{type(net).__name__} does not work with fewer channels ({problem}); its code must hold a fixed size. "
                f"Keep the layer in question by per_layer = 0, one of those like {names}, or use another pruner."
            )

    def _tell(self, reached: float, threshold: float, at_the_least: bool, graph: ChannelGraph) -> None:
        if abs(reached - threshold) <= REACHED_WITHIN:
            return
        reason = "channels can only be removed whole"
        if self.round_to > 1:
            reason = f"channels go in multiples of round_to = {self.round_to}; a smaller round_to comes nearer"
        if at_the_least and reached < threshold:
            reason = f"every layer that can lose channels is down to its least at round_to = {self.round_to}"
            if graph.left_alone:
                reason += f", and {', '.join(graph.left_alone)} cannot lose any"
        warnings.warn(
            f"Structured pruning removed {100 * reached:.1f} % of the prunable weights where {100 * threshold:g} % was "
            f"asked for: {reason}.",
            UnreachedWarning,
            stacklevel=3,
        )


def _copied(net: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(net).to("cpu")
    except Exception as error:
        raise PruningError(
            f"{type(net).__name__} cannot be copied ({type(error).__name__}: {error}), and structured pruning tries "
            "its cuts on a copy; give it a __deepcopy__, or use another pruner."
        ) from error


def _check_masks(net: nn.Module) -> None:
    buffers = {name for name, _ in net.named_buffers()}
    weights = [name.removesuffix("_orig") for name, _ in net.named_parameters() if name.endswith("_orig")]
    masked = [name for name in weights if f"{name}_mask" in buffers]
    if masked:
        raise PruningError(
            f"The masks of torch.nn.utils.prune are still on {', '.join(masked[:5])}; make them permanent first: "
            "torch.nn.utils.prune.remove(module, 'weight')."
        )


def _shape(outputs: Any) -> Any:
    if isinstance(outputs, torch.Tensor):
        return tuple(outputs.shape)
    if isinstance(outputs, tuple | list):
        return tuple(_shape(part) for part in outputs)
    if isinstance(outputs, dict):
        return {key: _shape(value) for key, value in outputs.items()}
    return type(outputs).__name__
