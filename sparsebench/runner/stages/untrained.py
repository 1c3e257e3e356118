"""A sweep without training: the dense network is given, and pruned to each threshold as it is."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from sparsebench.errors import ModelError, PruningError
from sparsebench.pruning.base import is_structural
from sparsebench.pruning.per_layer import pruner_of_training
from sparsebench.runner.stages.inputs import few, first_call
from sparsebench.store.results import LoadedWeights
from sparsebench.training.contract import TrainerLike
from sparsebench.training.weights import copy_weights
from sparsebench.wording.text import first_of

_SHOWN = 3


def without_training(
    network: nn.Module,
    old_net: nn.Module | None,
    trainer: TrainerLike,
    settings: Mapping[str, Any],
    loaded: LoadedWeights | None,
) -> nn.Module:
    """Return a network with the weights of another, pruned at once; statistics of batch norms stay as they are.

    Args:
        network: the network, which is changed in place.
        old_net: the network that it starts from.
        trainer: gives inputs with which a pruner of channels follows the network.
        settings: those of the training stage.
        loaded: what a checkpoint filled, where it is the dense network.

    Raises:
        ModelError: where a checkpoint left a part of the network as it was built.
        PruningError: where the pruner cannot prune it.
    """
    if old_net is None:
        fresh = first_of(loaded.fresh, _SHOWN) if loaded else "all of it"
        raise ModelError(
            f"The checkpoint fills not all of the network ({fresh} is as it was built), and train.epochs = 0 trains "
            "nothing; give a checkpoint of the whole network, or train for at least 1 epoch."
        )
    network = copy_weights(old_net, network).eval()
    if not settings["pruner"]:
        return network
    prune, threshold = settings["prune"], settings["threshold"]
    pruner = pruner_of_training(
        settings["pruner"]["name"],
        settings["pruner"]["options"],
        prune["per_layer"],
        prune["include_classifier"],
        threshold,
    )
    if is_structural(pruner):
        arguments = few(first_call(trainer, network, settings["seed"]), 2)
        if len(arguments) != 1:
            raise PruningError(
                f"Channels are removed of networks with one input; {type(network).__name__} takes {len(arguments)}. "
                "Use a pruner of single weights, such as 'magnitude'."
            )
        pruner.prepare(network, arguments[0], threshold)
    return pruner.prune(network, threshold)
