"""What can be known to be wrong before a run starts: it is reported at once, not as a hundred failed stages."""

import warnings

from sparsebench.config import DataConfig, ModelConfig, SweepConfig, TrainConfig
from sparsebench.data import Splits, load_collate
from sparsebench.errors import ConfigError, NoEffectWarning, SparsebenchError
from sparsebench.metrics import metric_of
from sparsebench.models import build_model
from sparsebench.pruning import out_of_reach
from sparsebench.pruning.per_layer import pruner_of_training
from sparsebench.registry import PRUNERS, TRAINERS
from sparsebench.runner.machine_limits import batches_beyond_memory
from sparsebench.runner.rehearsal import PREFIX, Pace, Rehearsal
from sparsebench.runner.stages import Workbench
from sparsebench.store.scratch import scratch
from sparsebench.training.contract import check_trainer
from sparsebench.training.loaders import training_device
from sparsebench.training.named_losses import build_criterion
from sparsebench.training.optimizers import optimizer_problem, rates_problem
from sparsebench.training.steps import amp_problem
from sparsebench.training.weights import load_weights

_ANY_THRESHOLD = 0.5
"""What a pruner is and takes does not depend on it."""


def check_all(config: SweepConfig, workbench: Workbench, timed: bool = False) -> dict[tuple[str, str], Pace]:
    """Load the datasets, build the networks and check the trainer.

    Args:
        config: what is to be run.
        workbench: makes trainers.
        timed: whether a few batches are timed as well, with each network on each data.

    Returns:
        How fast each network on each data is, by their names; nothing unless ``timed``.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[str] = []
    paces: dict[tuple[str, str], Pace] = {}
    try:
        check_trainer(TRAINERS.load(config.train.trainer))
    except SparsebenchError as error:
        problems.append(f"train.trainer = {config.train.trainer!r}: {error}")
    metric = None
    try:
        metric = metric_of(config.metric.model_dump(mode="json"))
    except SparsebenchError as error:
        problems.append(f"metric.name = {config.metric.name!r}: {error}")
    problems += _training_problems(config.train)
    trains = not problems
    for pruner in config.pruners:
        try:
            pruner_of_training(
                pruner.name, pruner.options, config.prune.per_layer, config.prune.include_classifier, _ANY_THRESHOLD
            )
        except SparsebenchError as error:
            problems.append(f"pruners: {error}")
    for data in config.data:
        try:
            splits = workbench.splits(data.model_dump(mode="json"), metric)
            load_collate(data.model_dump(mode="json")["collate"])
        except SparsebenchError as error:
            problems.append(f"data.name = {data.name!r}: {error}")
            continue
        problems += batches_beyond_memory(config, splits)
        samples = splits.samples["train"]
        if config.train.batch_size > samples:
            problems.append(
                f"train.batch_size = {config.train.batch_size} is larger than the training split of {data.name!r} "
                f"({samples} samples), so that no batch could be made; lower it to that or less."
            )
        elif (config.train.steps_per_epoch or 1) > (batches := samples // config.train.batch_size):
            problems.append(
                f"train.steps_per_epoch = {config.train.steps_per_epoch} is more than the training split of "
                f"{data.name!r} has batches of {config.train.batch_size} ({batches}); lower it, or leave it out for "
                "all of them."
            )
        for model in config.model:
            try:
                if trains and config.train.batch_size <= samples:
                    pace = _check_model(model, data, splits, config, workbench, timed)
                    paces |= {(model.name, data.name): pace} if pace else {}
                else:
                    build_model(model.name, splits.classes, splits.input_shape, model.options)
            except SparsebenchError as error:
                problems.append(f"model.name = {model.name!r} on {data.name!r}: {error}")
    if problems:
        raise ConfigError("The run was not started:", problems)
    return paces


def _training_problems(train: TrainConfig) -> list[str]:
    schedule = train.learning_schedule
    found = {
        "train.optimizer": optimizer_problem(train.optimizer.name, train.optimizer.options),
        "train.learning_schedule": rates_problem(schedule.name, schedule.options, train.learning_warmup),
        "train.amp": amp_problem(train.amp, training_device(train.device)),
    }
    if train.criterion is not None:
        try:
            build_criterion(train.criterion)
        except SparsebenchError as error:
            found["train.criterion"] = str(error)
    return [f"{key}: {problem}" for key, problem in found.items() if problem]


def _check_model(
    model: ModelConfig, data: DataConfig, splits: Splits, config: SweepConfig, bench: Workbench, timed: bool
) -> Pace | None:
    """Build a network, load its checkpoints, let one real batch go the whole way, and time a few where asked to.

    Warns:
        NoEffectWarning: where weights are to be pruned, and many of the network's cannot be.
    """
    network = build_model(model.name, splits.classes, splits.input_shape, model.options)
    settings = {
        "model": {"name": model.name},
        "data": data.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        **config.metric.what_matters,
    }
    with scratch(begin=PREFIX) as folder:
        rehearsal = Rehearsal(bench, settings, splits, config.seeds[0], str(folder))
        rehearsal.prepare(network)
        for checkpoint in model.weights_of(config.seeds):
            load_weights(
                *(network, checkpoint, model.name, splits.input_shape, model.options),
                new_head=model.new_head,
                strict=model.strict,
            )
        if _prunes_weights(config) and (lost := out_of_reach(network)):
            warnings.warn(f"{model.name}: {lost}", NoEffectWarning, stacklevel=2)
        rehearsal.run(network)
        return rehearsal.pace(network) if timed else None


def _prunes_weights(config: SweepConfig) -> bool:
    """Whether some training prunes weights; where channels are pruned, what holds them goes with them."""
    return any(
        any(pruner.thresholds or config.thresholds) and not getattr(PRUNERS.load(pruner.name), "structured", False)
        for pruner in config.pruners
    )
