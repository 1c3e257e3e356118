"""What stages share: the trained network, its trainer, its example and the samples it calibrates on."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from sparsebench.backends import Backend, build_backend
from sparsebench.data import Splits, load_collate, load_splits
from sparsebench.errors import LostError, StoreError
from sparsebench.live.sending import packed, unpack
from sparsebench.metrics import Metric, metric_of
from sparsebench.models import build_model
from sparsebench.models.as_built import is_lazy, materialise
from sparsebench.pruning import Structure, apply_structure, write_out
from sparsebench.quantization import Recording
from sparsebench.registry import TRAINERS
from sparsebench.runner.stages.inputs import (
    EXAMPLE,
    few,
    first_call,
    read_example,
    read_training_batches,
)
from sparsebench.store.records import StageKind, StageRecord
from sparsebench.store.results import EpochRecord, Result, TrainResult
from sparsebench.store.run_directory import Store
from sparsebench.store.scratch import scratch
from sparsebench.tensors import batch_of, signature_of
from sparsebench.training.checkpoints import load_saved
from sparsebench.training.contract import TrainerLike, apply_settings
from sparsebench.training.named_losses import criterion_of
from sparsebench.training.weights import load_weights

NETWORK = "network.safetensors"
STRUCTURE = "structure.json"
_BY_THEIR_NAMES = ("steps_per_epoch", "learning_warmup", "label_smoothing", "clip_norm", "distill", "amp")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage brought forth: its result and the digests of the artifacts it saved."""

    result: Result
    artifacts: Mapping[str, str] = field(default_factory=dict)


class Workbench:
    """Rebuilds networks and trainers from records, and keeps what several stages share.

    Args:
        store: where artifacts are saved and found.
        device: where training runs, as torch names it; the CPU where there is no such GPU.
        how: settings of trainers that make no other networks, by the names in ``HOW_TRAINING_RUNS``.
        calibration_batches: the most that any stage to come asks for. So many are recorded, so that a trained network's
            training batches are read once, whichever number is asked for first.

    Attributes:
        on_epoch: called after each epoch with the number of epochs, where the trainer tells of its epochs.
    """

    def __init__(
        self, store: Store, device: str, how: Mapping[str, object] = MappingProxyType({}), calibration_batches: int = 1
    ) -> None:
        self.store, self.device, self.how = store, device, how
        self.calibration_batches = calibration_batches
        self.on_epoch: Callable[[EpochRecord, int], None] | None = None
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

    def splits(self, data: Mapping[str, Any], metric: Metric | None = None) -> Splits:
        """Return the splits of a dataset, for a metric, None for accuracy; they are loaded once in a process."""
        of_classes = metric is None or metric.of_classes
        name = repr((data["name"], data["options"], data["collate"], of_classes))
        if name not in self._splits:
            loaded = load_splits(data["name"], data["options"], of_classes=of_classes)
            self._splits[name] = replace(loaded, collate=load_collate(data["collate"]) or loaded.collate)
        return self._splits[name]

    def record(self, kind: StageKind, key: str | None) -> StageRecord:
        """Return the record of a stage that another builds on; one that is not done is lost."""
        record = self.store.believed(kind, key) if key else None
        if record is None or record.status != "done":
            text = f"The {kind} stage {key} that this one builds on is not there; start the run again."
            raise LostError(kind, str(key), "it was not there", text)
        return record

    def save(self, kind: StageKind, key: str, name: str, content: bytes) -> str:
        """Save an artifact and return its SHA-256."""

        def write(path: Path) -> None:
            path.write_bytes(content)

        return self.store.save_artifact(kind, key, name, write)

    def trainer(
        self,
        settings: Mapping[str, Any],
        models_path: Path,
        calibration_batches: int | None = None,
        splits: Splits | None = None,
    ) -> tuple[TrainerLike, tuple[str, ...]]:
        """Build the trainer of a training stage, its data loaders ready; return it with the settings it declares."""
        data, train = settings["data"], settings["train"]
        metric = metric_of(settings.get("metric"))
        splits = splits or self.splits(data, metric)
        trainer: TrainerLike = TRAINERS.load(train["trainer"])(
            pruning=settings["threshold"] > 0,
            ddtype=torch.float,
            datasets=[splits.train, splits.val, splits.test],
            models_path=str(models_path),
            cuda=self.device,
        )
        wanted: dict[str, object] = {
            **asked_of_trainers(train),
            **self.how,
            "distill": None,  # Of use in the training stage alone, where there is a teacher.
            "on_epoch": self._tell(train["epochs"]),
        }
        if settings["pruner"]:
            prune = settings["prune"]
            wanted |= {
                "pruner": settings["pruner"]["name"],
                "pruner_options": settings["pruner"]["options"],
                "prune_every": prune["every"],
                **{name: prune[name] for name in ("per_layer", "schedule", "hold", "include_classifier")},
            }
        if calibration_batches:
            wanted["calibration_batches"] = calibration_batches
        wanted |= {} if metric is None else {"metric": metric}
        wanted |= {} if (criterion := criterion_of(trainer, train, metric)) is None else {"criterion": criterion}
        declared = apply_settings(trainer, wanted)
        if metric is not None and "metric" not in declared:
            # What it returns is checked by this.
            trainer.metric = metric  # type: ignore[attr-defined]
        trainer.load_dataloaders(batch_size=train["batch_size"], collate_fn=splits.collate)
        return trainer, declared

    def trainer_of(
        self, record: StageRecord, calibration_batches: int | None = None, splits: Splits | None = None
    ) -> TrainerLike:
        """Return the trainer of a training stage that is done."""
        folder = self.store.directory("train", record.key)
        return self.trainer(record.settings, folder, calibration_batches, splits)[0]

    def _tell(self, epochs: int) -> Callable[[Any], None] | None:
        on_epoch = self.on_epoch
        return on_epoch and (lambda epoch: on_epoch(EpochRecord(**asdict(epoch)), epochs))

    def trained(self, record: StageRecord, to_train_on: bool = False) -> nn.Module:
        """Return a saved network on the CPU, computed weights written out unless it is to train on; reads no data."""
        network = self._built(record)
        apply_structure(network, self.structure(record))
        load_saved(network, self.store.artifact(record, NETWORK), self.store.directory("train", record.key) / NETWORK)
        # The key tells one network from all others, code and options included: what is made of it may be kept by it.
        network.built_of = record.key  # type: ignore[assignment] # a plain attribute
        return network.eval() if to_train_on else write_out(network.eval())

    def _built(self, record: StageRecord) -> nn.Module:
        network = build_network(record.settings, *_fed(record))
        if is_lazy(network):
            if EXAMPLE in record.artifacts:
                arguments = read_example(self.store.artifact(record, EXAMPLE))
            else:
                arguments = first_call(self.trainer_of(record), network, record.settings["seed"])
            materialise(network, arguments)
        return network

    def structure(self, record: StageRecord) -> Structure:
        """Return what removing channels changed in the network of a training stage; empty where none were removed."""
        if STRUCTURE not in record.artifacts:
            return Structure()
        return Structure.from_json(self.store.artifact(record, STRUCTURE).decode(errors="replace"))

    def fresh(self, record: StageRecord, weights: Path) -> nn.Module:
        """Return a network as it was before a training stage, but for its weights, which are read from a file.

        Raises:
            ModelError: where they cannot be read, or do not fit.
        """
        _, input_shape = _fed(record)
        network, model = self._built(record), record.settings["model"]
        load_weights(network, str(weights), model["name"], input_shape, model["options"])
        return network.eval()

    def weights_of(self, record: StageRecord) -> bytes:
        """Return the weights that a training stage saved, as safetensors."""
        return self.store.artifact(record, NETWORK)

    def restore(self, key: str | None) -> nn.Module:
        """Return the network that a compress stage made, rebuilt from its artifacts without calibrating again."""
        record = self.record("compress", key)
        parent = self.record("train", record.parent)
        contents = {name: self.store.artifact(record, name) for name in record.artifacts}
        trained, example = self.trained(parent), self.example(parent.key)
        # What was checked is what is used: the files that a backend gets are its own, and nobody else changes them.
        with scratch() if contents else nullcontext(Path()) as folder:
            files = {name: folder / name for name in contents}
            for name, content in contents.items():
                files[name].write_bytes(content)
            network = backend_of(record.settings).restore(trained, record.settings["scheme"], example, files)
        with suppress(NotImplementedError):  # An exported graph is in evaluation mode for good, and says so.
            network.eval()
        # It is fed as the network that it was made of, also where a runtime knows nothing of its parameters.
        network.takes = signature_of(trained)  # type: ignore[assignment] # a plain attribute
        return network

    def specialise(self, key: str, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
        """Return the network of a compress stage as it is timed: made for these inputs and so many threads."""
        return backend_of(self.record("compress", key).settings).specialise(network, inputs, threads)

    def objects_of(self, key: str) -> Callable[[], None] | None:
        """Return what makes known to another process those objects that a compress stage's network is built with.

        Data are among them only where the network has no example of its own to be called with.

        Returns:
            A function that can be pickled; None where no object is needed.
        """
        parent = self.record("train", self.record("compress", key).parent)
        settings = parent.settings
        data = [] if EXAMPLE in parent.artifacts else [settings["train"]["trainer"], settings["data"]["name"]]
        objects = packed([settings["model"]["name"], *data])
        return partial(unpack, objects) if objects else None

    def inputs(self, key: str | None, batch_size: int) -> tuple[Any, ...]:
        """Return the arguments of a call with ``batch_size`` training samples, for compress stage ``key``'s network."""
        batch: tuple[Any, ...] = batch_of(self.example(self.record("compress", key).parent), batch_size)
        return batch

    def _example(self, key: str | None) -> tuple[Any, ...]:
        """Return the arguments of a call with a few training samples, on the CPU, as the trainer of ``key`` calls."""
        parent = self.record("train", key)
        if EXAMPLE in parent.artifacts:
            return read_example(self.store.artifact(parent, EXAMPLE))
        return few(first_call(self.trainer_of(parent), self.trained(parent), parent.settings["seed"]))

    def recording(self, record: StageRecord, quantize: Mapping[str, Any] | None) -> Recording:
        """Return the calibration batches of a trained network, which its trainer reads when they are asked for."""
        asked = quantize["calibration_batches"] if quantize else self.calibration_batches
        if self._recording is None or self._recording[0] != record.key or self._recording[1].limit < asked:
            most = max(asked, self.calibration_batches)

            def read(network: nn.Module) -> None:
                read_training_batches(self.trainer_of(record, most), network, record.settings["seed"])

            self._recording = record.key, Recording(self.trained(record), read, most)
        return self._recording[1].first(asked)


def asked_of_trainers(train: Mapping[str, Any]) -> dict[str, object]:
    """Return what the settings of a training ask for, by the names under which trainers declare it."""
    optimizer, schedule = train["optimizer"], train["learning_schedule"]
    return {
        "optimizer_name": optimizer["name"],
        "optimizer_options": optimizer["options"],
        "learning_schedule": schedule["name"],
        "learning_schedule_options": schedule["options"],
        **{name: train[name] for name in _BY_THEIR_NAMES},
    }


def build_network(settings: Mapping[str, Any], classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Return the network that the factory of a training stage makes."""
    return build_model(settings["model"]["name"], classes, input_shape, settings["model"]["options"])


def backend_of(settings: Mapping[str, Any]) -> Backend:
    """Return the backend of a compress stage."""
    return build_backend(settings["backend"]["name"], settings["backend"]["options"])


def _fed(record: StageRecord) -> tuple[int, tuple[int, ...]]:
    if not isinstance(record.result, TrainResult):
        raise StoreError(f"The record {record.key} is no trained network; start the run again.")
    return record.result.classes, record.result.input_shape
