"""From the arguments of ``sparsebench.sweep`` to a config, and what of them should be said."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from sparsebench.config import SweepConfig, TrainConfig, load_config
from sparsebench.errors import SparsebenchError
from sparsebench.live.data import Given as GivenData
from sparsebench.live.data import take_data
from sparsebench.live.naming import as_named
from sparsebench.live.networks import Given as GivenNetwork
from sparsebench.live.networks import take_network
from sparsebench.registry import LOSSES, METRICS, TRAINERS

_MOST_NAME = 100


class Asked(NamedTuple):
    """A config, and what a person should know of how it came about, as sentences."""

    config: SweepConfig
    notes: tuple[str, ...]


def asked(network: Any, data: Any, keys: Mapping[str, Any], overrides: Sequence[str] = ()) -> Asked:
    """Return the config of a sweep over objects or names.

    Args:
        network: one, or a list of several; see ``take_network``.
        data: one, or several tables or names in a list; see ``take_data``.
        keys: further keys of the config, None for those that were not given.
        overrides: assignments that win over them, as ``train.epochs=20``.

    Raises:
        ConfigError: with all that is wrong with the keys.
        SparsebenchError: where the network or the data cannot be used.
    """
    given = {key: value for key, value in keys.items() if value is not None}
    more_of_model = dict(given.pop("model", {}))
    networks = [take_network(one, more_of_model) for one in _several(network)]
    sets = _data(data)
    train = dict(given.pop("train", {}))
    notes = [note for one in sets for note in one.notes]
    for key in ("epochs", "trainer"):
        if (value := given.pop(key, None)) is not None:
            train[key] = value
    if "trainer" in train:
        train["trainer"] = _trainer(train["trainer"])
    if callable(train.get("criterion")):
        train["criterion"] = as_named(train["criterion"], LOSSES)
    if "metric" in given:
        given["metric"] = _metric(given["metric"])
    if all(one.trained for one in networks) and "epochs" not in train and _is_live(networks):
        train["epochs"] = 0
        given.setdefault("seeds", (0,))
        notes.append("Nothing is trained: networks are pruned as they are. Give epochs to train on after pruning.")
    if train.get("start_from") == "scratch" and _is_live(networks):
        raise SparsebenchError(
            "train.start_from = 'scratch' trains fresh networks, and a network object is the dense one; give the class "
            "or function that builds it."
        )
    if "batch_size" not in train:
        notes += _batch_size(train, sets)
    table: dict[str, Any] = {**given, "model": [one.table for one in networks], "data": [one.table for one in sets]}
    table["name"] = given.get("name") or f"{networks[0].short}-{sets[0].short}"[:_MOST_NAME]
    return Asked(load_config(table | ({"train": train} if train else {}), overrides), tuple(notes))


def _several(network: Any) -> Sequence[Any]:
    return network if isinstance(network, list) else [network]


def _data(data: Any) -> list[GivenData]:
    several = isinstance(data, list) and data and all(isinstance(one, str) or _is_table(one) for one in data)
    return [take_data(one) for one in (data if several else [data])]


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("name"), str)


def _is_live(networks: Sequence[GivenNetwork]) -> bool:
    return any(one.live for one in networks)


def _trainer(trainer: Any) -> str:
    if isinstance(trainer, str):
        return trainer
    if isinstance(trainer, nn.Module):
        raise SparsebenchError("The trainer is a network; give a class that keeps the trainer contract, or its name.")
    return as_named(trainer if isinstance(trainer, type) else type(trainer), TRAINERS)


def _metric(metric: Any) -> Any:
    """Return the section of a metric, whose name may be a function, a class or an object."""
    if isinstance(metric, Mapping):
        return {**metric, "name": _metric(metric["name"])} if callable(metric.get("name")) else metric
    if isinstance(metric, str):
        return metric
    if isinstance(metric, nn.Module) or not callable(metric):
        raise SparsebenchError(
            f"The metric is {type(metric).__name__}; give its name, or a function (outputs, targets)."
        )
    return as_named(metric, METRICS)


def _batch_size(train: dict[str, Any], sets: Sequence[GivenData]) -> list[str]:
    """Set the batch size to that of the loaders, or to what the data are enough for; return what should be said."""
    own = [one.batch_size for one in sets if one.batch_size]
    if own:
        train["batch_size"] = own[0]
    fewest = min((one.samples for one in sets if one.samples), default=None)
    size = train.get("batch_size", TrainConfig().batch_size)
    if fewest is None or size <= fewest:
        return []
    train["batch_size"] = fewest
    return [f"train.batch_size = {fewest}, for the training split has no more samples."]
