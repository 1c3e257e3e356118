"""The dense network that a search starts from: trained, brought into every format, and judged on validation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from sparsebench.config import SweepConfig
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.pruning import prunable_weights
from sparsebench.runner.facts import FP32
from sparsebench.runner.stages import Workbench
from sparsebench.search.computed import Computed
from sparsebench.search.groups import groups_of_layers
from sparsebench.search.judging import costs_of
from sparsebench.search.plans import Format
from sparsebench.store.records import TrialResult, failure_line, latencies_of
from sparsebench.store.run_directory import Store
from sparsebench.store.scales import Scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """The dense network and all that a search has to know of it.

    Attributes:
        trials: it in every format that was made, by the format.
        formats: those of them that may be proposed: of a scheme that was asked for, with fp32 on the same backend
            beside it.
        left_out: why other formats are not, as sentences.
        values: the metric of dense fp32 on validation, by backend.
        costs: what dense fp32 costs on the first backend.
        scale: that of the metric.
        computed: tells what pruned networks cost.
        groups: layers that get a threshold together, by pattern.
        weights: how many weights each group has.
        latencies: in milliseconds, by format, where they were measured.
    """

    trials: Mapping[Format, TrialResult]
    formats: tuple[Format, ...]
    left_out: tuple[str, ...]
    values: Mapping[str, float]
    costs: Mapping[str, float]
    scale: Scale
    computed: Computed
    groups: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, int]
    latencies: Mapping[Format, float]


def dense_of(config: SweepConfig, schemes: tuple[str, ...], trials: tuple[TrialResult, ...], store: Store) -> Dense:
    """Return what is known of the dense network.

    Args:
        config: of the search, with fp32 among its schemes.
        schemes: those that were asked for.
        trials: the dense network of the first seed, in every format.
        store: where its network lies.

    Raises:
        SparsebenchError: where it could not be trained, or in no format; or where it cannot be validated or pruned.
        ConfigError: where the groups of the config name no layers.
    """
    if config.search is None:
        raise ConfigError("The search was not started:", ["the config has no [search]."])
    if failed := next((trial.failed_stage for trial in trials if trial.train is None or not trial.trained), None):
        raise SparsebenchError(
            f"The dense network that a search starts from could not be trained: {failure_line(failed)}"
        )
    done = {Format.of(trial.trial): trial for trial in trials if trial.compressed and trial.validated}
    left_out = [
        f"{Format.of(trial.trial).label} is left out: {failure_line(trial.failed_stage)}"
        for trial in trials
        if trial.failed_stage
    ]
    values = {to.backend: one.validated.value for to, one in done.items() if to.scheme == FP32 and one.validated}
    formats = tuple(to for to in done if to.scheme in schemes and to.backend in values)
    if not formats:
        why = f" {' '.join(left_out)}" if left_out else ""
        raise SparsebenchError(
            "No network can be searched for: the dense one could not be evaluated on validation in fp32 and in a "
            f"scheme that was asked for.{why}"
        )
    record = next(trial.train for trial in trials if trial.train)
    trained = next(trial.trained for trial in trials if trial.trained)
    bench = Workbench(store, "cpu")
    network = bench.trained(record, to_train_on=True)
    layers = _prunable(network, config)
    groups = groups_of_layers(config.search.groups, list(layers), config.search.most_groups)
    shown = latencies_of(trials)
    latencies = {
        Format.of(trial.trial): shown.ms(machine, measured) for trial in trials for machine, measured in trial.timed[:1]
    }
    first = done[Format(FP32, formats[0].backend)]
    known = {to: latency for to, latency in latencies.items() if latency is not None}
    return Dense(
        trials=done,
        formats=formats,
        left_out=tuple(left_out),
        values=values,
        costs=costs_of(first) | ({"latency": known[Format.of(first.trial)]} if Format.of(first.trial) in known else {}),
        scale=next(trial.validated.scale for trial in done.values() if trial.validated),
        computed=Computed(
            network,
            bench.example(record.key),
            config.prune,
            trained,
            {to: trial.compressed for to, trial in done.items() if trial.compressed},
            known,
        ),
        groups=groups,
        weights={group: sum(layers[name] for name in own) for group, own in groups.items()},
        latencies=known,
    )


def _prunable(network: nn.Module, config: SweepConfig) -> dict[str, int]:
    """Return the weights of each layer that a search may prune; those with thresholds in ``[prune]`` keep these."""
    prune = config.prune
    found: dict[str, int] = {}
    for weight in prunable_weights(network, prune.include_classifier, tuple(prune.per_layer)):
        found[weight.layer] = found.get(weight.layer, 0) + weight.parameter.numel()
    if not found:
        raise SparsebenchError(
            f"{config.model[0].name} has no prunable layers for a search to choose thresholds for; see "
            "prune.include_classifier and prune.per_layer."
        )
    return found
