"""Training a network, or loading it, and what is recorded of it."""

import time
import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from sparsebench.config import PruneConfig, PrunerConfig, TrainConfig
from sparsebench.data import Splits
from sparsebench.errors import ModelError, NoEffectWarning, OutputsWarning
from sparsebench.measure.compute import LayerCompute, count_macs
from sparsebench.measure.size import count_zeros, parameter_counts
from sparsebench.metrics import metric_of
from sparsebench.models.as_built import is_lazy, materialise, unknown_layers
from sparsebench.pruning import all_weights, asked_zeros, out_of_reach, prunable_weights, rows_of_layers, write_out
from sparsebench.pruning.structure import apply_structure, structure_of
from sparsebench.registry import PRUNERS
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.history import best_epoch_of, history_of
from sparsebench.runner.stages.inputs import (
    EXAMPLE,
    first_call,
    if_measurable,
    mixing,
    seed_everything,
    written_example,
)
from sparsebench.runner.stages.reading import Most, read_in_a_pass
from sparsebench.runner.stages.untrained import without_training
from sparsebench.runner.stages.workbench import (
    NETWORK,
    STRUCTURE,
    Outcome,
    Workbench,
    asked_of_trainers,
    build_network,
)
from sparsebench.store.results import LayerSparsity, LoadedWeights, TrainResult
from sparsebench.training.checkpoints import save_weights
from sparsebench.training.contract import TrainerLike, apply_settings, check_trained
from sparsebench.training.named_losses import said_of
from sparsebench.training.weights import load_weights


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Train one network and save it."""
    settings, folder = stage.settings, bench.store.directory("train", stage.key)
    metric = metric_of(settings.get("metric"))
    splits = bench.splits(settings["data"], metric)
    parent = bench.record("train", stage.parent) if stage.parent else None
    old_net = bench.trained(parent, to_train_on=True) if parent else None
    seed_everything(settings["seed"])
    network = build_network(settings, splits.classes, splits.input_shape)
    trainer, declared = bench.trainer(settings, folder)
    if is_lazy(network):
        arguments = first_call(trainer, network, settings["seed"])
        seed_everything(settings["seed"])
        materialise(network, arguments)
    if told := unknown_layers(network):
        warnings.warn(told, NoEffectWarning, stacklevel=2)
    fresh = {name: tensor.shape for name, tensor in network.state_dict().items()}
    built = structure_of(network)
    if parent:
        apply_structure(network, bench.structure(parent))
    # The checkpoint stays until the stage is committed.
    own = {"distill": settings["train"]["distill"], "teacher": old_net, "keep_checkpoint": True}
    declared += apply_settings(trainer, own)
    trains = settings["train"]["epochs"] > 0
    if trains:
        _warn_undeclared(settings["train"], declared)
        if told := said_of(trainer, settings["train"], metric):
            warnings.warn(told, NoEffectWarning, stacklevel=2)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    loaded = _load(network, settings, splits) if settings.get("weights") else None
    with read_in_a_pass(trainer) as read:
        if loaded and loaded.complete:
            trained = network.eval()
        elif not trains:
            trained = without_training(network, old_net, trainer, settings, loaded)
        else:
            trained = train_by(trainer, network, settings["train"], settings["threshold"], old_net)
    seconds = time.perf_counter() - started
    # Without training, it is not the trainer that prunes.
    by_pruner = "pruner" in declared or not trains
    _check_shapes(fresh, trained, may_shrink=by_pruner and _is_structured(settings))
    artifacts = {
        NETWORK: bench.store.save_artifact("train", stage.key, NETWORK, lambda path: save_weights(trained, path))
    }
    arguments = first_call(trainer, trained, settings["seed"])
    if problem := mixing(trained, arguments):
        warnings.warn(problem, OutputsWarning, stacklevel=2)
    if example := written_example(arguments):
        artifacts[EXAMPLE] = bench.save("train", stage.key, EXAMPLE, example)
    structure = structure_of(trained).since(built)
    if structure:
        artifacts[STRUCTURE] = bench.store.save_artifact("train", stage.key, STRUCTURE, structure.save)
    result = _result(settings, splits, trainer, trained, fresh, seconds, by_pruner, loaded, read)
    return Outcome(result=_with_macs(result, trained, arguments), artifacts=artifacts)


def train_by(
    trainer: TrainerLike,
    network: nn.Module,
    train: Mapping[str, Any],
    threshold: float = 0.0,
    old_net: nn.Module | None = None,
) -> nn.Module:
    """Train a network by the trainer; return it on the CPU, ready to be evaluated.

    Raises:
        ContractError: where the trainer returns no network.
    """
    rates = {name: train[name] for name in ("learning_rate", "learning_step", "learning_gamma")}
    returned = trainer.train(
        net=network,
        parameters={**rates, "prune_threshold": threshold},
        name="network",
        epochs=train["epochs"],
        reload=old_net is not None,
        old_net=old_net,
    )
    return check_trained(returned).to("cpu").eval()


def _load(network: nn.Module, settings: Mapping[str, Any], splits: Splits) -> LoadedWeights:
    model, weights = settings["model"], settings["weights"]
    fitted = load_weights(
        network,
        weights["source"],
        model["name"],
        splits.input_shape,
        model["options"],
        new_head=weights["new_head"],
        strict=weights["strict"],
    )
    if fitted.passed_over:
        warnings.warn(
            f"Of the checkpoint {weights['source']!r}, the averaged weights (EMA), {fitted.part}, were loaded; "
            f"those that are not averaged, {fitted.passed_over}, were not used.",
            NoEffectWarning,
            stacklevel=2,
        )
    return LoadedWeights(source=weights["source"], sha256=weights["sha256"], **asdict(fitted))


def _warn_undeclared(train: Mapping[str, Any], declared: Collection[str]) -> None:
    """Tell in the record which settings of the config a trainer does not know, where they ask for something."""
    usual = asked_of_trainers(TrainConfig().model_dump(mode="json"))
    ignored = ["criterion"] if train.get("criterion") and "criterion" not in declared else []
    ignored += [
        name for name, asked in asked_of_trainers(train).items() if name not in declared and asked != usual[name]
    ]
    if ignored:
        warnings.warn(
            f"The trainer {train['trainer']} trains in its own way: it does not declare {', '.join(ignored)}, so that "
            "what the config says of these had no effect.",
            NoEffectWarning,
            stacklevel=2,
        )


def _is_structured(settings: Mapping[str, Any]) -> bool:
    return bool(settings["pruner"]) and getattr(PRUNERS.load(settings["pruner"]["name"]), "structured", False)


def _check_shapes(expected: Mapping[str, torch.Size], trained: nn.Module, may_shrink: bool) -> None:
    """Refuse a returned network that could not be loaded again: what its factory builds, cut to size, must fit."""
    found = {name: tensor.shape for name, tensor in trained.state_dict().items()}
    if found == expected or (may_shrink and _within(found, expected)):
        return
    differing = sorted({*found, *expected} - {n for n in found if found[n] == expected.get(n)})
    raise ModelError(
        f"train returned a network of another shape than it was given: {', '.join(differing[:5])} differ. "
        "Return the network that was passed in, with the names and shapes of its state dict unchanged."
    )


def _within(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> bool:
    """Whether both have the same tensors, none of them larger than expected in any dimension."""
    return found.keys() == expected.keys() and all(
        len(shape) == len(expected[name]) and all(new <= old for new, old in zip(shape, expected[name], strict=True))
        for name, shape in found.items()
    )


def _result(
    settings: Mapping[str, Any],
    splits: Splits,
    trainer: TrainerLike,
    trained: nn.Module,
    fresh: Mapping[str, torch.Size],
    seconds: float,
    declares_pruner: bool,
    loaded: LoadedWeights | None,
    read: Most,
) -> TrainResult:
    """Return the record of a trained network: counts are taken from the network itself, never from the trainer.

    What was removed with its channels counts as zero: ``fresh`` holds the shapes before that. Weights that ``trained``
    computes from others are written out, in place: parameters are those of the network that ships.
    """
    train, pruner = settings["train"], settings["pruner"]
    removed = {n: fresh[n].numel() - tensor.numel() for n, tensor in trained.named_parameters(remove_duplicate=False)}
    prune = settings["prune"] or PruneConfig().model_dump()
    kept = [pattern for pattern, own in prune["per_layer"].items() if own == 0]
    prunable = {weight.weight_name for weight in prunable_weights(trained, prune["include_classifier"], kept)}
    asked = settings["threshold"]
    if asked and prune["per_layer"] and not _is_structured(settings):
        zeros, among = asked_zeros(trained, asked, prune["per_layer"], prune["include_classifier"])
        asked = zeros / among if among else 0.0
    if pruner and not _is_structured(settings) and (lost := out_of_reach(trained)):
        warnings.warn(lost, NoEffectWarning, stacklevel=2)
    write_out(trained)
    layers = _layers(trained, prunable, removed)
    parameters, parameter_zeros = parameter_counts(trained)
    gone = sum(removed[name] for name, _ in trained.named_parameters() if name in removed)
    history = history_of(trainer)
    best = best_epoch_of(trainer, history)
    epochs = 0 if loaded and loaded.complete else train["epochs"]
    steps = getattr(trainer, "steps_per_epoch", None)
    epoch_samples = read.get("train") or (steps * train["batch_size"] if steps else None)
    label = PrunerConfig(**pruner).label if pruner else "none"
    return TrainResult(
        trainer=train["trainer"],
        pruned_by=label if declares_pruner or not pruner else "the trainer's own way",
        train_samples=splits.samples["train"],
        val_samples=splits.samples["val"],
        test_samples=splits.samples["test"],
        classes=splits.classes,
        input_shape=splits.input_shape,
        epochs=epochs,
        best_epoch=best.epoch if best else None,
        val_accuracy=best.val_accuracy if best else None,
        val_metric=best.val_metric if best else None,
        history=history,
        asked_sparsity=asked,
        prunable_weights=sum(layer.weights for layer in layers if layer.prunable),
        prunable_zeros=sum(layer.zeros for layer in layers if layer.prunable),
        parameters=parameters + gone,
        parameter_zeros=parameter_zeros + gone,
        structured=gone > 0,
        removed_parameters=sum(removed.get(name, 0) for name in prunable),
        layers=layers,
        samples_per_second=epochs * (epoch_samples or splits.samples["train"]) / seconds,
        epoch_samples=epoch_samples,
        validated_samples=read.get("val"),
        loaded=loaded,
    )


def _layers(trained: nn.Module, prunable: Collection[str], removed: Mapping[str, int]) -> tuple[LayerSparsity, ...]:
    """Return weights and zeros of each layer; one with weights that may and others that may not be pruned is two."""
    counts: dict[tuple[str, str, bool], list[int]] = defaultdict(lambda: [0, 0])
    for weight in all_weights(trained):
        weights, zeros = count_zeros({weight.name: weight.parameter})[weight.name]
        count, gone = counts[weight.layer, weight.kind, weight.name in prunable], removed.get(weight.name, 0)
        count[0] += weights + gone
        count[1] += zeros + gone
    return tuple(
        LayerSparsity(name=name, kind=kind, weights=weights, zeros=zeros, prunable=may)
        for (name, kind, may), (weights, zeros) in counts.items()
    )


def _with_macs(result: TrainResult, trained: nn.Module, arguments: tuple[Any, ...]) -> TrainResult:
    counts = if_measurable("MACs and theoretical speedup", count_macs, trained, arguments)
    if counts is None:
        return result
    row_of, found = rows_of_layers(trained), defaultdict[str, list[LayerCompute]](list)
    for count in counts.layers:
        found[row_of.get(count.name, count.name)].append(count)
    layers = []
    for layer in result.layers:
        # A layer with two rows has its MACs in the first.
        own = found.pop(layer.name, [])
        macs, effective = sum(count.macs for count in own), sum(count.effective_macs for count in own)
        layers.append(replace(layer, macs=macs, effective_macs=effective))
    return replace(result, macs=counts.macs, effective_macs=counts.effective_macs, layers=tuple(layers))
