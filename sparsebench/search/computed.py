"""What can be known of a network before it is trained: sizes, MACs and working memory, from the dense one."""

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sparsebench.config import PruneConfig
from sparsebench.errors import UnreachedWarning
from sparsebench.measure import count_macs, working_memory
from sparsebench.pruning import all_weights
from sparsebench.pruning.base import is_structural
from sparsebench.pruning.per_layer import pruner_of_training
from sparsebench.search.plans import Format, Network
from sparsebench.store.results import CompressResult, TrainResult


@dataclass(frozen=True)
class Cut:
    """What pruning takes from a network, whichever weights training makes of the rest.

    Attributes:
        zeros: weights that are zero or gone, by layer.
        macs: multiply-accumulates with a non-zero weight, for one sample; None where they cannot be counted.
        macs_share: all multiply-accumulates, zeros too, as a share of the dense network's.
        memory_share: working memory as a share of the dense network's, in fp32.
        smaller: whether channels are gone, so that the file is smaller too.
    """

    zeros: Mapping[str, int]
    macs: float | None
    macs_share: float
    memory_share: float
    smaller: bool


class Computed:
    """Prunes copies of the dense network, untrained, and tells what they cost in each format.

    Flash is the store of the weights that are left, in the widths that the format gives them (dense size × (1 −
    threshold)), and of all else; what calibration rounds to zero comes off it later. The deflated file is at least the
    dense one's times the share of bits that is left, for where the zeros are takes room too. MACs are those of weights
    that are left. Working memory is that of the dense network, unless channels are removed.

    Args:
        network: the dense network, on the CPU; it is not changed.
        example: arguments of a call, as many samples as there are.
        prune: how the sweep prunes.
        trained: the record of its training.
        formats: what became of it in each format.
        latencies: its latency in each format in milliseconds, where it was timed.
    """

    def __init__(
        self,
        network: nn.Module,
        example: tuple[Any, ...],
        prune: PruneConfig,
        trained: TrainResult,
        formats: Mapping[Format, CompressResult],
        latencies: Mapping[Format, float],
    ) -> None:
        self._network, self._example, self._prune, self._trained = network, example, prune, trained
        self._formats, self._latencies = formats, latencies
        self._elements = _elements(network)
        self._cuts: dict[tuple[str, float], Cut] = {}

    def cut(self, network: Network) -> Cut:
        """Return what pruning takes from the dense network.

        Raises:
            PruningError: where the pruner cannot prune it.
        """
        if network.key not in self._cuts:
            self._cuts[network.key] = self._pruned(network)
        return self._cuts[network.key]

    def costs(self, network: Network, to: Format) -> dict[str, float]:
        """Return what a network costs in a format, by the name of the criterion; what is not known is left out."""
        cut, dense = self.cut(network), self._formats[to]
        size = dense.size
        bits, other_bits = self._widths(to)
        before = sum(count * bits[layer] for layer, count in self._elements.items())
        after = sum((count - cut.zeros.get(layer, 0)) * bits[layer] for layer, count in self._elements.items())
        share = (after + other_bits) / (before + other_bits) if before + other_bits else 1.0
        found = {
            "flash": (after + other_bits) / 8,
            "deflated_size": size.deflated_file_bytes * share,
            "size": size.file_bytes * (share if cut.smaller else 1.0),
        }
        if dense.working_memory_bytes is not None:
            found["memory"] = dense.working_memory_bytes * cut.memory_share
        if cut.macs is not None:
            found["macs"] = cut.macs
        if to in self._latencies:
            found["latency"] = self._latencies[to] * cut.macs_share
        return found

    def _widths(self, to: Format) -> tuple[dict[str, float], float]:
        """Return the bits of a weight of each layer in a format, and those of all that is no weight of a layer."""
        dense = self._formats[to]
        audited = {layer.name: layer for layer in dense.layers}
        size = dense.size
        usual = 8 * size.flash_bytes / max(1, size.nonzero_parameters)
        # A layer that a runtime has joined with others is not told apart there; it has the usual width.
        bits = {name: float(audited[name].bits) if name in audited else usual for name in self._elements}
        held = sum(
            (audited[name].weights - audited[name].zeros if name in audited else count) * bits[name]
            for name, count in self._elements.items()
        )
        return bits, max(0.0, 8 * size.flash_bytes - held)

    def _pruned(self, network: Network) -> Cut:
        pruned = copy.deepcopy(self._network)
        prune, named = self._prune, network.pruner
        pruner = pruner_of_training(
            named.name, named.options, prune.per_layer, prune.include_classifier, network.threshold
        )
        smaller = is_structural(pruner)
        with warnings.catch_warnings():
            # How near a pruner of channels comes is told where networks are trained.
            warnings.simplefilter("ignore", UnreachedWarning)
            if is_structural(pruner):
                pruner.prepare(pruned, self._example[0], network.threshold)
            pruner.prune(pruned, network.threshold)
        left = _nonzero(pruned)
        zeros = {name: count - left.get(name, 0) for name, count in self._elements.items()}
        if not smaller:
            return Cut(zeros, self._macs_left(zeros), 1.0, 1.0, False)
        before, after = (count_macs(net, self._example) for net in (self._network, pruned))
        memory = [working_memory(net, self._example) for net in (self._network, pruned)]
        return Cut(
            zeros,
            after.effective_macs if self._trained.macs is not None else None,
            after.macs / before.macs if before.macs else 1.0,
            memory[1] / memory[0] if memory[0] else 1.0,
            True,
        )

    def _macs_left(self, zeros: Mapping[str, int]) -> float | None:
        dense = self._trained
        if dense.macs is None:
            return None
        of_layers: dict[str, int] = {}
        for layer in dense.layers:
            of_layers[layer.name] = of_layers.get(layer.name, 0) + layer.macs
        gone = sum(of_layers.get(name, 0) * count / self._elements[name] for name, count in zeros.items())
        return dense.macs - gone


def _elements(network: nn.Module) -> dict[str, int]:
    found: dict[str, int] = {}
    for weight in all_weights(network):
        found[weight.layer] = found.get(weight.layer, 0) + weight.parameter.numel()
    return found


def _nonzero(network: nn.Module) -> dict[str, int]:
    found: dict[str, int] = {}
    for weight in all_weights(network):
        found[weight.layer] = found.get(weight.layer, 0) + int((weight.values() != 0).sum())
    return found
