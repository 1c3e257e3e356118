"""What each kind of stage does, in one process. Which stages run, and when, is the runner's business."""

import io
import pickle
import random
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.backends import Backend, Compressed, build_backend
from sparsebench.config import PruneConfig, PrunerConfig, TrainConfig
from sparsebench.data import Splits, load_splits
from sparsebench.errors import ContractError, LostError, ModelError, NoEffectWarning, StoreError
from sparsebench.measure.compute import count_macs
from sparsebench.measure.memory import working_memory
from sparsebench.measure.size import NetworkSize, file_size, measure_size
from sparsebench.measure.sparsity import count_zeros, parameter_counts
from sparsebench.models import build_model
from sparsebench.pruning import (
    PrunableWeight,
    all_weights,
    asked_zeros,
    capture_zeros,
    prunable_weights,
    zero_smallest_of,
)
from sparsebench.pruning.structure import Structure, apply_structure, structure_of
from sparsebench.quantization import LayerFact, Recording, audit, warn_no_effect
from sparsebench.registry import PRUNERS, TRAINERS, import_reference
from sparsebench.runner.plan import Stage
from sparsebench.runner.retraining import Retraining
from sparsebench.statistics.accuracy import wilson_interval
from sparsebench.store.records import StageKind, StageRecord
from sparsebench.store.results import (
    CompressResult,
    EpochRecord,
    EvaluateResult,
    LayerAudit,
    LayerSparsity,
    LoadedWeights,
    Result,
    SensitivityPoint,
    SensitivityResult,
    SizeResult,
    TrainResult,
    pack_bits,
)
from sparsebench.store.run_directory import Store
from sparsebench.timing import batch_of
from sparsebench.training.contract import TrainerLike, apply_settings, check_evaluated, check_trained
from sparsebench.training.weights import load_weights

NETWORK = "network.safetensors"
STRUCTURE = "structure.json"
CHECKPOINT = "network.resume.pt"
EXAMPLE = "example.pt"

EXAMPLE_SAMPLES = 8
"""Training samples that are kept with a trained network, for what follows its graph or times it."""

_BY_THEIR_NAMES = ("steps_per_epoch", "learning_warmup", "label_smoothing", "clip_norm", "distill", "amp")

# How the settings of training are found in those of a stage, by the names under which trainers declare them.
_TRAINING: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "optimizer_name": lambda train: train["optimizer"]["name"],
    "optimizer_options": lambda train: train["optimizer"]["options"],
    "learning_schedule": lambda train: train["learning_schedule"]["name"],
    "learning_schedule_options": lambda train: train["learning_schedule"]["options"],
    **{key: itemgetter(key) for key in _BY_THEIR_NAMES},
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage brought forth: its result and the digests of the artifacts it saved."""

    result: Result
    artifacts: Mapping[str, str] = field(default_factory=dict)


def seed_everything(seed: int) -> None:
    """Seed all random number generators; called before a network or a trainer is built."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Workbench:
    """Does the work of stages and keeps what several of them share: datasets, and the network in hand.

    Args:
        store: where artifacts are saved and found.
        device: where training runs, as torch names it; the CPU where there is no such GPU.
        on_epoch: called after each epoch with the number of epochs, where the trainer tells of its epochs.
        how: settings of trainers that make no other networks, by the names in ``HOW_TRAINING_RUNS``.
        calibration_batches: the most that any stage to come asks for. So many are recorded, so that a trained network's
            training batches are read once, whichever number is asked for first.
    """

    def __init__(
        self,
        store: Store,
        device: str,
        on_epoch: Callable[[EpochRecord, int], None] | None = None,
        how: Mapping[str, object] = MappingProxyType({}),
        calibration_batches: int = 1,
    ) -> None:
        self.store = store
        self.calibration_batches = calibration_batches
        self.device = device
        self.on_epoch = on_epoch
        self.how = how
        self.threads = torch.get_num_threads()
        self._splits: dict[str, Splits] = {}
        # evaluate and measure of one trial follow each other; rebuilding the network for each would cost as much again.
        self.restored = lru_cache(maxsize=1)(self.restore)
        self.example = lru_cache(maxsize=2)(self._example)
        # All schemes and backends of a trained network calibrate on the same batches, and follow each other.
        self._recording: tuple[str, Recording] | None = None

    def use_threads(self, threads: int | None) -> None:
        """Give torch so many threads inside one operation; as many as it had when the bench was made where None."""
        # Results depend on the number of threads. Setting it, even to what it is, also takes from MKL the freedom to
        # use fewer, which it has until somebody sets it: a resumed run would train otherwise than an undisturbed one.
        torch.set_num_threads(threads or self.threads)

    def do(self, stage: Stage) -> Outcome:
        """Do the work of one stage; whatever goes wrong is raised."""
        work = {
            "train": self.train,
            "compress": self.compress,
            "evaluate": self.evaluate,
            "sensitivity": self.sensitivity,
        }
        return work[stage.kind](stage)

    # -- the kinds of stages that one network has for itself; timing takes many together (see measuring) --------------

    def train(self, stage: Stage) -> Outcome:
        """Train one network and save it."""
        settings = stage.settings
        splits = self.splits(settings["data"])
        parent = self._record("train", stage.parent) if stage.parent else None
        old_net = self.trained(parent) if parent else None
        seed_everything(settings["seed"])
        network = _build(settings, splits.classes, splits.input_shape)
        fresh, built = {name: tensor.shape for name, tensor in network.state_dict().items()}, structure_of(network)
        if parent:
            apply_structure(network, self._structure(parent))
        trainer, declared = self.trainer(settings, self.store.directory("train", stage.key))
        # The checkpoint stays until the stage is committed.
        own = {"distill": settings["train"]["distill"], "teacher": old_net, "keep_checkpoint": True}
        declared += apply_settings(trainer, own)
        _warn_undeclared(settings["train"], declared)
        self.store.directory("train", stage.key).mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        loaded = self._load(network, settings, splits) if settings.get("weights") else None
        trained = network.eval() if loaded and loaded.complete else _train(trainer, network, settings, old_net)
        seconds = time.perf_counter() - started
        _check_shapes(fresh, trained, may_shrink="pruner" in declared and _is_structured(settings))
        artifacts = {
            NETWORK: self.store.save_artifact(
                "train", stage.key, NETWORK, lambda path: safetensors.torch.save_model(trained, str(path))
            )
        }
        artifacts |= self._save_example(stage, trainer)
        structure = structure_of(trained).since(built)
        if structure:
            artifacts[STRUCTURE] = self.store.save_artifact("train", stage.key, STRUCTURE, structure.save)
        result = _train_result(settings, splits, trainer, trained, fresh, seconds, "pruner" in declared, loaded)
        result = _with_macs(result, trained, trainer, settings["seed"])
        return Outcome(result=result, artifacts=artifacts)

    def compress(self, stage: Stage) -> Outcome:
        """Bring a trained network into a scheme on a backend, calibrating where the scheme asks for it."""
        parent = self._record("train", stage.parent)
        example = (self.example(parent.key),)
        batches = self.recording(parent, stage.settings["quantize"])
        seed_everything(parent.settings["seed"])
        scheme = stage.settings["scheme"]
        retraining = self.retraining(parent, stage.settings.get("qat"))
        further = {"train": retraining} if retraining else {}
        compressed = _backend(stage.settings).compress(self.trained(parent), scheme, example, batches, **further)
        layered = compressed.layered or compressed.network
        facts = audit(layered) if compressed.layers is None else compressed.layers
        warn_no_effect(scheme, facts)
        artifacts = {name: self._save("compress", stage.key, name, file) for name, file in compressed.files.items()}
        memory = compressed.working_memory_bytes
        result = CompressResult(
            calibration_batches=batches.used,
            calibration_seconds=batches.seconds,
            layers=_layer_audits(facts, parent),
            size=SizeResult(**asdict(_size(compressed))),
            working_memory_bytes=_working_memory(layered, example[0]) if memory is None else memory,
            training_epochs=retraining.epochs if retraining else 0,
            training_seconds=retraining.seconds if retraining else 0.0,
        )
        return Outcome(result=result, artifacts=artifacts)

    def evaluate(self, stage: Stage) -> Outcome:
        """Read the test set once with a compressed network."""
        parent = self._record("train", self._record("compress", stage.parent).parent)
        trainer, _ = self.trainer(parent.settings, self.store.directory("train", parent.key))
        seed_everything(parent.settings["seed"])
        returned = trainer.evaluate(net=self.restored(stage.parent), quant_mode=False)
        accuracy, _ = check_evaluated(returned)
        flags = getattr(trainer, "correct", None)
        correct = None if flags is None else [bool(flag) for flag in flags]
        samples = self.splits(parent.settings["data"]).samples["test"] if correct is None else len(correct)
        low, high = wilson_interval(round(accuracy * samples), samples)
        result = EvaluateResult(
            samples=samples,
            top1=accuracy,
            top1_low=low,
            top1_high=high,
            top5=getattr(trainer, "top5", None),
            correct_bits=None if correct is None else pack_bits(correct),
        )
        return Outcome(result=result)

    def sensitivity(self, stage: Stage) -> Outcome:
        """Prune one layer at a time of a dense network, without training, and read the validation split."""
        parent = self._record("train", stage.parent)
        # The trainer evaluates its third dataset. Here it is given the validation split for that: which layer is pruned
        # how far is a choice, and choices are not made on test data.
        splits = self.splits(parent.settings["data"])
        trainer, _ = self.trainer(
            parent.settings, self.store.directory("train", parent.key), splits=replace(splits, test=splits.val)
        )
        network = self.trained(parent)
        dense, _ = check_evaluated(trainer.evaluate(net=network, quant_mode=False))
        points = []
        layers: dict[str, list[PrunableWeight]] = defaultdict(list)
        for weight in all_weights(network):
            layers[weight.layer].append(weight)
        for layer, weights in layers.items():
            count = sum(weight.parameter.numel() for weight in weights)
            before = [weight.parameter.detach().clone() for weight in weights]
            for threshold in sorted(stage.settings["thresholds"]):
                zero_smallest_of(weights, round(threshold * count))
                accuracy, _ = check_evaluated(trainer.evaluate(net=network, quant_mode=False))
                points.append(
                    SensitivityPoint(
                        layer=layer, kind=weights[0].kind, weights=count, threshold=threshold, accuracy=accuracy
                    )
                )
            with torch.no_grad():
                for weight, values in zip(weights, before, strict=True):
                    weight.parameter.copy_(values)
        result = SensitivityResult(samples=splits.samples["val"], dense_accuracy=dense, points=tuple(points))
        return Outcome(result=result)

    def committed(self, stage: Stage) -> None:
        """Remove what was of use only as long as a stage was not there whole."""
        if stage.kind == "train":
            (self.store.directory("train", stage.key) / CHECKPOINT).unlink(missing_ok=True)

    # -- what stages share --------------------------------------------------------------------------------------------

    def splits(self, data: Mapping[str, Any]) -> Splits:
        """Return the splits of a dataset; they are loaded once in a process."""
        name = repr((data["name"], data["options"]))
        if name not in self._splits:
            self._splits[name] = load_splits(data["name"], data["options"])
        return self._splits[name]

    def trainer(
        self,
        settings: Mapping[str, Any],
        models_path: Path,
        compress: Mapping[str, Any] | None = None,
        splits: Splits | None = None,
    ) -> tuple[TrainerLike, tuple[str, ...]]:
        """Build the trainer of a training stage, its data loaders ready; return it with the settings it declares."""
        data = settings["data"]
        splits = splits or self.splits(data)
        trainer: TrainerLike = TRAINERS.load(settings["train"]["trainer"])(
            pruning=settings["threshold"] > 0,
            ddtype=torch.float,
            datasets=[splits.train, splits.val, splits.test],
            models_path=str(models_path),
            cuda=self.device,
        )
        wanted: dict[str, object] = {
            **{setting: of(settings["train"]) for setting, of in _TRAINING.items()},
            **self.how,
            "distill": None,  # Of use in the training stage alone, where there is a teacher.
            "on_epoch": self._tell(settings),
        }
        if settings["pruner"]:
            prune = settings["prune"]
            wanted |= {
                "pruner": settings["pruner"]["name"],
                "pruner_options": settings["pruner"]["options"],
                "per_layer": prune["per_layer"],
                "schedule": prune["schedule"],
                "hold": prune["hold"],
                "prune_every": prune["every"],
                "include_classifier": prune["include_classifier"],
            }
        if compress and compress["quantize"]:
            wanted["calibration_batches"] = compress["quantize"]["calibration_batches"]
        declared = apply_settings(trainer, wanted)
        collate = import_reference(data["collate"]) if data["collate"] else None
        trainer.load_dataloaders(batch_size=settings["train"]["batch_size"], collate_fn=collate)
        return trainer, declared

    def recording(self, record: StageRecord, quantize: Mapping[str, Any] | None) -> Recording:
        """Return the calibration batches of a trained network, which its trainer reads when they are asked for."""
        asked = quantize["calibration_batches"] if quantize else self.calibration_batches
        if self._recording is None or self._recording[0] != record.key or self._recording[1].limit < asked:
            most = max(asked, self.calibration_batches)
            settings = {"quantize": {"calibration_batches": most}}
            recording = Recording(self.trained(record), partial(self._read_training_batches, record, settings), most)
            self._recording = record.key, recording
        return self._recording[1].first(asked)

    def retraining(self, record: StageRecord, qat: Mapping[str, Any] | None) -> Retraining | None:
        """Return what trains a network further, for a scheme that asks for it; None for any other."""
        if qat is None:
            return None
        # In fp32 whatever the training before: the observers of int8 take nothing else, and half precision would round
        # off what sets its grids.
        train = {**record.settings["train"], "epochs": qat["epochs"], "amp": "none"}
        settings = {**record.settings, "train": train, "pruner": None, "threshold": 0.0}

        def build_trainer(folder: str) -> TrainerLike:
            return self.trainer(settings, Path(folder))[0]

        zeros = capture_zeros(self.trained(record))
        return Retraining(build_trainer, train, qat["epochs"], qat["learning_rate"], zeros)

    def _read_training_batches(self, record: StageRecord, settings: Mapping[str, Any], network: nn.Module) -> None:
        """Let the trainer run its calibration batches through a network."""
        trainer, _ = self.trainer(record.settings, self.store.directory("train", record.key), settings)
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        hook = network.register_forward_pre_hook(count)
        seed_everything(record.settings["seed"])
        try:
            check_evaluated(trainer.evaluate(net=network, quant_mode=True))
        finally:
            hook.remove()
        if not calls:
            raise ContractError(
                "The trainer does not keep the contract:",
                ["evaluate(net, quant_mode=True) ran no batch through net; feed it batches of dataloader['train']."],
            )

    def _load(self, network: nn.Module, settings: Mapping[str, Any], splits: Splits) -> LoadedWeights:
        """Load a user's checkpoint into a network, and return what became of it."""
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
        return LoadedWeights(source=weights["source"], sha256=weights["sha256"], **asdict(fitted))

    def trained(self, record: StageRecord) -> nn.Module:
        """Return the network that a training stage saved, on the CPU, ready to be evaluated; reads no data."""
        result = record.result
        if not isinstance(result, TrainResult):
            raise StoreError(f"The record {record.key} is no trained network; start the run again.")
        network = _build(record.settings, result.classes, result.input_shape)
        apply_structure(network, self._structure(record))
        safetensors.torch.load_model(network, str(self.store.artifact(record, NETWORK)))
        return network.eval()

    def fresh(self, record: StageRecord, weights: Path) -> nn.Module:
        """Return a network as it was before a training stage, but for its weights, which are read from a file.

        Raises:
            ModelError: where they cannot be read, or do not fit.
        """
        result, model = record.result, record.settings["model"]
        assert isinstance(result, TrainResult)  # noqa: S101 - only training stages are asked for
        network = _build(record.settings, result.classes, result.input_shape)
        load_weights(network, str(weights), model["name"], result.input_shape, model["options"])
        return network.eval()

    def weights_of(self, record: StageRecord) -> bytes:
        """Return the weights that a training stage saved, as safetensors."""
        return self.store.artifact(record, NETWORK).read_bytes()

    def _save(self, kind: StageKind, key: str, name: str, content: bytes) -> str:
        """Save an artifact and return its SHA-256."""

        def write(path: Path) -> None:
            path.write_bytes(content)

        return self.store.save_artifact(kind, key, name, write)

    def _save_example(self, stage: Stage, trainer: TrainerLike) -> dict[str, str]:
        """Save a few training samples as the network is fed them, where they are of a kind that can be read back."""
        inputs = batch_of(_first_inputs(trainer, stage.settings["seed"]), EXAMPLE_SAMPLES)
        written = io.BytesIO()
        torch.save(inputs, written)
        try:
            _read_example(io.BytesIO(written.getvalue()))
        except pickle.UnpicklingError:
            return {}
        return {EXAMPLE: self._save("train", stage.key, EXAMPLE, written.getvalue())}

    def _structure(self, record: StageRecord) -> Structure:
        """Return what removing channels changed in the network of a training stage; empty where none were removed."""
        if STRUCTURE not in record.artifacts:
            return Structure()
        return Structure.from_json(self.store.artifact(record, STRUCTURE).read_text(encoding="utf-8"))

    def inputs(self, key: str | None, batch_size: int) -> Any:
        """Return inputs of ``batch_size`` training samples for the network of compress stage ``key``."""
        return batch_of(self.example(self._record("compress", key).parent), batch_size)

    def _example(self, key: str | None) -> Any:
        """Return inputs of a few training samples, on the CPU, as the trainer of train stage ``key`` loads them."""
        parent = self._record("train", key)
        if EXAMPLE in parent.artifacts:
            return _read_example(self.store.artifact(parent, EXAMPLE))
        trainer, _ = self.trainer(parent.settings, self.store.directory("train", parent.key))
        return batch_of(_first_inputs(trainer, parent.settings["seed"]), EXAMPLE_SAMPLES)

    def restore(self, key: str | None) -> nn.Module:
        """Return the network that a compress stage made, rebuilt from its artifacts without calibrating again."""
        record = self._record("compress", key)
        parent = self._record("train", record.parent)
        files = {name: self.store.artifact(record, name) for name in record.artifacts}
        example = (self.example(parent.key),)
        return _backend(record.settings).restore(self.trained(parent), record.settings["scheme"], example, files)

    def specialise(self, key: str, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
        """Return the network of a compress stage as it is timed: made for these inputs and so many threads."""
        return _backend(self._record("compress", key).settings).specialise(network, inputs, threads)

    def _record(self, kind: Any, key: str | None) -> StageRecord:
        record = self.store.read(kind, key) if key else None
        if record is None or record.status != "done":
            text = f"The {kind} stage {key} that this one builds on is not there; start the run again."
            raise LostError(kind, str(key), "it was not there", text)
        return record

    def _tell(self, settings: Mapping[str, Any]) -> Callable[[Any], None] | None:
        on_epoch, epochs = self.on_epoch, settings["train"]["epochs"]
        if on_epoch is None:
            return None
        return lambda epoch: on_epoch(EpochRecord(**asdict(epoch)), epochs)


def _build(settings: Mapping[str, Any], classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    model = settings["model"]
    return build_model(model["name"], classes, input_shape, model["options"])


def _backend(settings: Mapping[str, Any]) -> Backend:
    """Return the backend of a compress stage."""
    return build_backend(settings["backend"]["name"], settings["backend"]["options"])


def _layer_audits(facts: Sequence[LayerFact], parent: StageRecord) -> tuple[LayerAudit, ...]:
    """Return the audit of a network for its record.

    MACs are counted in the float network; a layer that keeps its name and all its weights has as many in any format.
    """
    result = parent.result
    counted: dict[str, int | None] = {}
    for layer in result.layers if isinstance(result, TrainResult) else ():
        counted.setdefault(layer.name, layer.macs)
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


def _read_example(file: Path | io.BytesIO) -> Any:
    """Read inputs that were saved; of classes, packed sequences alone are allowed."""
    with torch.serialization.safe_globals([PackedSequence]):
        return torch.load(file, weights_only=True)


def _first_inputs(trainer: TrainerLike, seed: int) -> Any:
    """Return the inputs of one training batch, on the CPU; of the same seed and data the same."""
    seed_everything(seed)
    for inputs, _ in cast("Mapping[str, Any]", trainer.dataloader)["train"]:
        return inputs.to("cpu")
    raise ContractError(
        "The trainer does not keep the contract:",
        ["dataloader['train'] has no batch; a batch must not be larger than the training split."],
    )


def _warn_undeclared(train: Mapping[str, Any], declared: Collection[str]) -> None:
    """Tell in the record which settings of the config a trainer does not know, where they ask for something.

    Warns:
        NoEffectWarning: once, naming them all.
    """
    usual = TrainConfig().model_dump(mode="json")
    ignored = [name for name, of in _TRAINING.items() if name not in declared and of(train) != of(usual)]
    if ignored:
        warnings.warn(
            f"The trainer {train['trainer']} trains in its own way: it does not declare {', '.join(ignored)}, so that "
            "what the config says of these had no effect.",
            NoEffectWarning,
            stacklevel=2,
        )


def _is_structured(settings: Mapping[str, Any]) -> bool:
    """Whether the pruner of a training stage says of itself that it removes channels."""
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


def _train(
    trainer: TrainerLike, network: nn.Module, settings: Mapping[str, Any], old_net: nn.Module | None
) -> nn.Module:
    """Train a network by the trainer; return it on the CPU, ready to be evaluated."""
    train = settings["train"]
    returned = trainer.train(
        net=network,
        parameters={
            "learning_rate": train["learning_rate"],
            "learning_step": train["learning_step"],
            "learning_gamma": train["learning_gamma"],
            "prune_threshold": settings["threshold"],
        },
        name="network",
        epochs=train["epochs"],
        reload=old_net is not None,
        old_net=old_net,
    )
    return check_trained(returned).to("cpu").eval()


def _train_result(
    settings: Mapping[str, Any],
    splits: Splits,
    trainer: TrainerLike,
    trained: nn.Module,
    fresh: Mapping[str, torch.Size],
    seconds: float,
    declares_pruner: bool,
    loaded: LoadedWeights | None,
) -> TrainResult:
    """Return the record of a trained network: counts are taken from the network itself, never from the trainer.

    What was removed with its channel counts as zero: ``fresh`` holds the shapes before that.
    """
    removed = {name: fresh[name].numel() - tensor.numel() for name, tensor in trained.named_parameters()}
    prune = settings["prune"] or PruneConfig().model_dump()
    kept = [pattern for pattern, own in prune["per_layer"].items() if own == 0]
    prunable = {weight.name for weight in prunable_weights(trained, prune["include_classifier"], kept)}
    asked = settings["threshold"]
    if asked and prune["per_layer"] and not _is_structured(settings):
        zeros, among = asked_zeros(trained, asked, prune["per_layer"], prune["include_classifier"])
        asked = zeros / among if among else 0.0
    layers: dict[tuple[str, str, bool], list[int]] = defaultdict(lambda: [0, 0])
    for weight in all_weights(trained):
        (weights, zeros) = count_zeros({weight.name: weight.parameter})[weight.name]
        tally = layers[weight.layer, weight.kind, weight.name in prunable]
        tally[0] += weights + removed[weight.name]
        tally[1] += zeros + removed[weight.name]
    parameters, parameter_zeros = parameter_counts(trained)
    history = tuple(EpochRecord(**asdict(epoch)) for epoch in getattr(trainer, "history", ()))
    best = getattr(trainer, "best_epoch", None)
    epochs = 0 if loaded and loaded.complete else settings["train"]["epochs"]
    steps = getattr(trainer, "steps_per_epoch", None)
    epoch_samples = steps * settings["train"]["batch_size"] if steps else None
    pruner = PrunerConfig(**settings["pruner"]).label if settings["pruner"] else "none"
    return TrainResult(
        trainer=settings["train"]["trainer"],
        pruned_by=pruner if declares_pruner or not settings["pruner"] else "the trainer's own way",
        train_samples=splits.samples["train"],
        val_samples=splits.samples["val"],
        test_samples=splits.samples["test"],
        classes=splits.classes,
        input_shape=splits.input_shape,
        epochs=epochs,
        best_epoch=best,
        val_accuracy=next((epoch.val_accuracy for epoch in history if epoch.epoch == best), None),
        history=history,
        asked_sparsity=asked,
        prunable_weights=sum(weights for (_, _, may), (weights, _) in layers.items() if may),
        prunable_zeros=sum(zeros for (_, _, may), (_, zeros) in layers.items() if may),
        parameters=parameters + sum(removed.values()),
        parameter_zeros=parameter_zeros + sum(removed.values()),
        structured=any(removed.values()),
        removed_parameters=sum(removed[name] for name in prunable),
        layers=tuple(
            LayerSparsity(name=name, kind=kind, weights=weights, zeros=zeros, prunable=may)
            for (name, kind, may), (weights, zeros) in layers.items()
        ),
        samples_per_second=epochs * (epoch_samples or splits.samples["train"]) / seconds,
        epoch_samples=epoch_samples,
        loaded=loaded,
    )


def _with_macs(result: TrainResult, trained: nn.Module, trainer: TrainerLike, seed: int) -> TrainResult:
    """Return the record with the network's multiply-accumulates, or as it is where they cannot be counted."""
    try:
        inputs = _first_inputs(trainer, seed)
        # Sequences differ in length, and so in what they cost: their mean over a batch is counted.
        counts = count_macs(trained, (inputs if isinstance(inputs, PackedSequence) else batch_of(inputs, 1),))
    except Exception as error:
        _warn_unmeasured("MACs and theoretical speedup", error)
        return result
    found = {layer.name: layer for layer in counts.layers}
    layers = []
    for layer in result.layers:
        # A layer with weights that may and others that may not be pruned has two rows, and its MACs in the first.
        count = found.pop(layer.name, None)
        layers.append(replace(layer, macs=count.macs, effective_macs=count.effective_macs) if count else layer)
    return replace(result, macs=counts.macs, effective_macs=counts.effective_macs, layers=tuple(layers))


def _working_memory(network: nn.Module, inputs: Any) -> int | None:
    """Return the working memory of a compressed network, None where it cannot be measured."""
    try:
        return working_memory(network, (inputs if isinstance(inputs, PackedSequence) else batch_of(inputs, 1),))
    except Exception as error:
        _warn_unmeasured("Working memory", error)
        return None


def _warn_unmeasured(what: str, error: Exception) -> None:
    """Tell in the record that a figure is missing; a network is no worse for that."""
    warnings.warn(f"{what} could not be measured: {type(error).__name__}: {error}", NoEffectWarning, stacklevel=3)
