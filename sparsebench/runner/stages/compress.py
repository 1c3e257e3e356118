"""Bringing a trained network into a scheme on a backend: calibration, training it further, and the audit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from sparsebench.backends import Compressed
from sparsebench.backends.checks import check_converted
from sparsebench.measure.memory import working_memory
from sparsebench.measure.size import NetworkSize, file_size, measure_size
from sparsebench.pruning import Masks, capture_zeros, rows_of_layers
from sparsebench.quantization import LayerFact, audit, settling, warn_no_effect
from sparsebench.runner.facts import FP32
from sparsebench.runner.plan import Stage
from sparsebench.runner.stages.inputs import if_measurable, seed_everything
from sparsebench.runner.stages.train import train_by
from sparsebench.runner.stages.workbench import Outcome, Workbench, backend_of
from sparsebench.store.records import StageRecord
from sparsebench.store.results import CompressResult, LayerAudit, MicrocontrollerResult, SizeResult, TrainResult
from sparsebench.store.scratch import scratch
from sparsebench.training.contract import TrainerLike, steps_of_epoch


def run(stage: Stage, bench: Workbench) -> Outcome:
    """Bring a trained network into a scheme on a backend, calibrating where the scheme asks for it."""
    parent, scheme = bench.record("train", stage.parent), stage.settings["scheme"]
    example = bench.example(parent.key)
    batches = bench.recording(parent, stage.settings["quantize"])
    seed_everything(parent.settings["seed"])
    retraining = _retraining(parent, stage.settings["qat"], bench) if "qat" in stage.settings else None
    further = {"train": retraining} if retraining else {}
    backend = backend_of(stage.settings)
    network = bench.trained(parent)
    row_of = rows_of_layers(network)
    compressed = backend.compress(network, scheme, example, batches, **further)
    layered = compressed.layered or compressed.network
    facts = audit(layered) if compressed.layers is None else compressed.layers
    warn_no_effect(scheme, facts)
    if scheme != FP32:
        check_converted(compressed.network, network, example, f"{scheme} on {backend.name}")
    artifacts = {name: bench.save("compress", stage.key, name, file) for name, file in compressed.files.items()}
    memory = compressed.working_memory_bytes
    result = CompressResult(
        calibration_batches=batches.used,
        calibration_seconds=batches.seconds,
        layers=_audited(facts, parent, row_of),
        size=SizeResult(**asdict(_size(compressed))),
        live_activation_bytes=if_measurable("Working memory", working_memory, layered, example)
        if memory is None
        else memory,
        training_epochs=retraining.epochs if retraining else 0,
        training_seconds=retraining.seconds if retraining else 0.0,
        microcontroller=MicrocontrollerResult(**asdict(micro)) if (micro := compressed.microcontroller) else None,
    )
    return Outcome(result=result, artifacts=artifacts)


class Retraining:
    """Trains a network that a scheme prepared, with its zeros kept; its trainer chooses the epoch as always.

    Args:
        build_trainer: builds the trainer, its data loaders ready and its pruning off, for a folder to save networks in.
        train: epochs and rates of this training, by the names of the config's ``train``.
        zeros: the zeros of the network before it was prepared; they are kept whatever the trainer does.

    Attributes:
        epochs: epochs trained so far.
        seconds: time spent on them.
    """

    def __init__(self, build_trainer: Callable[[str], TrainerLike], train: Mapping[str, Any], zeros: Masks) -> None:
        self._build_trainer, self._train, self._zeros = build_trainer, train, zeros
        self.epochs, self.seconds = 0, 0.0

    def __call__(self, prepared: nn.Module) -> nn.Module:
        """Train ``prepared``, in place or not as the trainer does it, and return the network on the CPU.

        Raises:
            ContractError: where the trainer returns no network.
            PruningError: where it returns one that has not the weights whose zeros are kept.
        """
        started = time.perf_counter()
        with scratch() as folder:
            trainer = self._build_trainer(str(folder))
            steps = self._train["epochs"] * steps_of_epoch(trainer)
            with self._zeros.kept(prepared), settling(prepared, steps):
                trained = train_by(trainer, prepared, self._train)
        self._zeros.apply(trained)
        self.epochs += self._train["epochs"]
        self.seconds += time.perf_counter() - started
        return trained


def _retraining(record: StageRecord, qat: Mapping[str, Any], bench: Workbench) -> Retraining:
    # In fp32 whatever the training before: the observers of int8 take nothing else, and half precision would round
    # off what sets its grids.
    own = {"epochs": qat["epochs"], "learning_rate": qat["learning_rate"], "amp": "none"}
    settings = {**record.settings, "train": record.settings["train"] | own, "pruner": None, "threshold": 0.0}

    def build_trainer(folder: str) -> TrainerLike:
        return bench.trainer(settings, Path(folder))[0]

    return Retraining(build_trainer, settings["train"], capture_zeros(bench.trained(record)))


def _audited(facts: Sequence[LayerFact], parent: StageRecord, row_of: Mapping[str, str]) -> tuple[LayerAudit, ...]:
    """Return the audit of a network for its record.

    MACs are counted in the float network; a layer that keeps its name and all its weights has as many in any format.
    Those of a layer that shares the weights of another (``row_of``) stand there.
    """
    layers = parent.result.layers if isinstance(parent.result, TrainResult) else ()
    # Of two rows of a layer, the first has its MACs.
    counted = {name: 0 for name, row in row_of.items() if row != name}
    counted |= {layer.name: layer.macs for layer in reversed(layers)}
    return tuple(
        LayerAudit(**{**asdict(fact), "macs": counted.get(fact.name) if fact.macs is None else fact.macs})
        for fact in facts
    )


def _size(compressed: Compressed) -> NetworkSize:
    """Return the size of a network: of its state dict, or of the file that it is where it does not live in torch."""
    export = compressed.export
    if export is None:
        return measure_size(compressed.layered or compressed.network)
    return file_size(
        export.file,
        payload_bytes=export.payload_bytes,
        nonzero_parameters=sum(parameter.nonzero for parameter in export.parameters),
        nonzero_bits=sum(parameter.nonzero * parameter.bits for parameter in export.parameters),
    )
