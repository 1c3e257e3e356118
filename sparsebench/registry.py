"""The names a config may use, each with its ``module:attribute``, which is imported only when it is asked for.

Installed packages add names through entry points. A provider knows many: it is given what follows its prefix.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sparsebench.errors import SparsebenchError, UnknownNameError, suggestion
from sparsebench.errors import nearest as nearest
from sparsebench.errors import options_problem as options_problem
from sparsebench.errors import unknown_name as unknown_name
from sparsebench.user_code import own_code


def is_reference(name: str) -> bool:
    """Whether ``name`` has the form ``package.module:callable``."""
    module, separator, attribute = name.partition(":")
    return bool(separator) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def import_reference(reference: str) -> Any:
    """Import and return what ``package.module:attribute`` points to; the attribute may be dotted.

    The current directory is searched last, so that ``trainer = "mine:MyTrainer"`` finds ``mine.py`` in it.

    Raises:
        SparsebenchError: where the form is wrong, the module or the attribute cannot be imported, or the module raises.
    """
    if not is_reference(reference):
        raise SparsebenchError(f"{reference!r} is no reference; write it as 'package.module:callable'.")
    module_name, _, attribute = reference.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        with own_code(("module", reference)):
            found = importlib.import_module(module_name)
    except ImportError as error:
        raise SparsebenchError(
            f"Cannot import module {module_name!r} for {reference!r}: {error}. "
            "Install the package, or run the command in the folder that holds the module."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(found) if not name.startswith("_")]
            raise SparsebenchError(f"Module {module_name!r} has no {attribute!r}.{suggestion(part, public)}")
        found = getattr(found, part)
    return found


@dataclass(frozen=True)
class Entry:
    """A component of this package with what a plan must know of it, so that planning does not import it.

    Attributes:
        home: its ``module:attribute`` inside this package.
        calibrates: whether a scheme needs calibration batches.
        trains: whether a scheme trains the network further.
        offer: where the class stands that says what a backend can do here; it imports neither torch nor the runtime.
    """

    home: str
    calibrates: bool = False
    trains: bool = False
    offer: str = ""


LIVE = "live"  # The prefix of objects of a Python session, which are named by what they are.


@dataclass(eq=False)
class Registry(Mapping[str, str]):
    """Names of one kind of component, each with the ``module:attribute`` that is imported on demand.

    Attributes:
        kind: what the names name, in the singular, as it reads in an error ("scheme").
        group: entry-point group through which installed packages add names.
        builtin: the package's own components.
        aliases: other names accepted for a built-in one.
        references: whether ``package.module:callable`` is accepted in place of a name.
        builtin_providers: functions of what follows a prefix; packages have entry points of ``<group>.providers``.
        placeholder: how what follows a prefix is shown, as in ``timm:NAME``; ``placeholders`` are those of some.
    """

    kind: str
    group: str
    builtin: dict[str, str | Entry]
    aliases: dict[str, str] = field(default_factory=dict)
    references: bool = False
    builtin_providers: dict[str, str] = field(default_factory=dict)
    placeholder: str = "NAME"
    placeholders: dict[str, str] = field(default_factory=dict)

    @property
    def provided(self) -> dict[str, str]:
        """The ``module:attribute`` of each provider, by how names that a person can write are shown: ``timm:NAME``."""
        names = [name for name in self.providers if name != LIVE]
        return {f"{name}:{self.placeholders.get(name, self.placeholder)}": self.providers[name] for name in names}

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self.builtin}

    @cached_property
    def providers(self) -> dict[str, str]:
        """The ``module:attribute`` of each provider, by its prefix."""
        installed = {one.name: one.value for one in entry_points(group=f"{self.group}.providers")}
        return {**installed, **self.builtin_providers, LIVE: "sparsebench.live.table:held"}

    def __iter__(self) -> Iterator[str]:
        yield from self.builtin
        yield from self._installed

    def __len__(self) -> int:
        return len(self.builtin) + len(self._installed)

    def __getitem__(self, name: str) -> str:
        entry = self.builtin[name] if name in self.builtin else self._installed[name].value
        return f"sparsebench.{entry.home}" if isinstance(entry, Entry) else entry

    def facts(self, name: str) -> Any:
        """Return what has the facts that a plan asks for: the entry of a component of this package, or its class."""
        entry = self.builtin.get(self.canonical(name))
        return entry if isinstance(entry, Entry) else self.load(name)

    def is_provided(self, name: str) -> bool:
        """Whether ``name`` begins with the prefix of a provider."""
        return ":" in name and name.partition(":")[0] in self.providers

    def is_own(self, name: str) -> bool:
        """Whether ``name`` is a reference to a user's own code."""
        return self.references and is_reference(name) and not self.is_provided(name)

    def problem(self, name: str) -> str | None:
        """Return why ``name`` cannot be used, as a sentence, or None where it can.

        What follows a provider's prefix is not looked up, which may need a large import; ``load`` does that.
        """
        prefix, _, rest = name.partition(":")
        if self.is_provided(name):
            after = self.placeholders.get(prefix, self.placeholder)
            return None if rest else f"{self.kind} {name!r} names nothing; write {prefix}:{after}."
        if name in self.aliases or name in self or self.is_own(name):
            return None
        hint = " Your own is given as 'package.module:callable'." if self.references else ""
        return unknown_name(self.kind, name, [*self, *self.aliases, *self.provided], hint)

    def canonical(self, name: str) -> str:
        """Return ``name`` with an alias replaced by the name it stands for."""
        return self.aliases.get(name, name)

    def load(self, name: str) -> Any:
        """Import and return the component called ``name``.

        Raises:
            UnknownNameError: where no such name is registered; the text suggests the nearest one.
            SparsebenchError: where a reference cannot be imported, or a provider cannot provide.
        """
        if problem := self.problem(name):
            raise UnknownNameError(problem)
        name = self.canonical(name)
        if self.is_provided(name):
            prefix, _, rest = name.partition(":")
            return import_reference(self.providers[prefix])(rest)
        if name in self._installed:
            return self._installed[name].load()
        return import_reference(self.get(name, name))


def _functions(module: str, *names: str) -> dict[str, str | Entry]:
    return {name: Entry(f"{module}:{name}") for name in names}


def _classes(module: str, **classes: str) -> dict[str, str | Entry]:
    return {name: Entry(f"{module}:{kind}") for name, kind in classes.items()}


PRUNERS = Registry(
    "pruner",
    "sparsebench.pruners",
    {
        "magnitude": Entry("pruning.magnitude:Magnitude"),
        "layer_magnitude": Entry("pruning.layer_magnitude:LayerMagnitude"),
        "by_group": Entry("pruning.by_group:ByGroup"),
        "random": Entry("pruning.random:Random"),
        "n_m": Entry("pruning.n_m:NM"),
        "structured": Entry("pruning.structured.pruner:Structured"),
    },
)

_N_M = Entry("pruning.n_m:thresholds")
ONLY_THRESHOLDS = Registry("pruner of certain thresholds only", "sparsebench.only_thresholds", {"n_m": _N_M})
"""Functions from a pruner's options to the only thresholds that it can reach; the others reach any."""

SCHEMES = Registry(
    "scheme",
    "sparsebench.schemes",
    {
        "fp32": Entry("quantization.floats:Float32"),
        "dynamic": Entry("quantization.int8:Dynamic"),
        "static": Entry("quantization.int8:Static", calibrates=True),
        "both": Entry("quantization.int8:Both", calibrates=True),
        "qat": Entry("quantization.int8:QAT", trains=True),
        "weight_only": Entry("quantization.weight_only:WeightOnly"),
        "bf16": Entry("quantization.floats:BFloat16"),
        "fp16": Entry("quantization.floats:Float16"),
        "sparse_2_4": Entry("quantization.sparse_2_4:Sparse24"),
    },
    aliases={"post": "static"},
)

BACKENDS = Registry(
    "backend",
    "sparsebench.backends",
    {
        "eager": Entry("backends.eager.backend:Eager", offer="backends.eager.offer:EagerOffer"),
        "inductor": Entry("backends.inductor.backend:Inductor", offer="backends.inductor.offer:InductorOffer"),
        "onnxruntime": Entry("backends.onnxruntime.backend:ONNXRuntime", offer="backends.onnxruntime.offer:ONNXOffer"),
        "openvino": Entry("backends.openvino.backend:OpenVINO", offer="backends.openvino.offer:OpenVINOOffer"),
        "litert": Entry("backends.litert.backend:LiteRT", offer="backends.litert.offer:LiteRTOffer"),
    },
)

MODELS = Registry(
    "model",
    "sparsebench.models",
    _functions("models.resnet_cifar", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
    | _functions("models.mlperf_tiny", "resnet8", "ds_cnn", "mobilenet_v1_025")
    | {name: Entry(f"models.{name}:{name}") for name in ("small_cnn", "mlp", "gru_classifier", "lstm_classifier")},
    references=True,
    builtin_providers={
        "torchvision": "sparsebench.models.libraries:TorchvisionNetwork",
        "timm": "sparsebench.models.libraries:TimmNetwork",
        "transformers": "sparsebench.models.hugging_face:TransformersNetwork",
    },
)

DATASETS = Registry(
    "dataset",
    "sparsebench.datasets",
    _functions("data.digits", "digits", "digits_rows")
    | _functions(
        "data.torchvision_sets", "mnist", "fashion_mnist", "kmnist", "svhn", "cifar10", "cifar100", "imagenet"
    ),
    references=True,
    builtin_providers={
        "imagefolder": "sparsebench.data.imagefolder:ImageFolder",
        "npz": "sparsebench.data.arrays:Arrays",
        "hf": "sparsebench.data.hugging_face:HubData",
        "arrow": "sparsebench.data.hugging_face:ArrowFolder",
        "webdataset": "sparsebench.data.tar_shards:TarShards",
    },
    placeholder="PATH",
    placeholders={"hf": "NAME", "webdataset": "PATTERN"},
)

TRAINERS = Registry("trainer", "sparsebench.trainers", {"default": Entry("training.trainer:Trainer")}, references=True)

METRICS = Registry(
    "metric",
    "sparsebench.metrics",
    _classes("metrics.classes", accuracy="Accuracy", top5="TopFive", balanced_accuracy="BalancedAccuracy", f1="F1")
    | _classes("metrics.labels", multilabel_accuracy="MultilabelAccuracy", multilabel_f1="MultilabelF1")
    | _classes("metrics.labels", exact_match="ExactMatch")
    | _classes("metrics.regression", mean_absolute_error="MeanAbsoluteError", mean_squared_error="MeanSquaredError")
    | _classes("metrics.regression", root_mean_squared_error="RootMeanSquaredError", r2="R2")
    | _classes("metrics.ranking", auroc="AUROC")
    | _classes("metrics.segmentation", iou="IoU")
    | _classes("metrics.language", perplexity="Perplexity"),
    aliases={"top1": "accuracy", "mae": "mean_absolute_error", "mse": "mean_squared_error"}
    | {"rmse": "root_mean_squared_error", "top_5": "top5", "miou": "iou", "mean_iou": "iou"},
    references=True,
    builtin_providers={"torchmetrics": "sparsebench.metrics.from_torchmetrics:TorchmetricsMetric"},
)

LOSSES = Registry(
    "criterion",
    "sparsebench.criteria",
    _functions("training.named_losses", "cross_entropy", "bce", "mse", "l1", "huber"),
    references=True,
)

SCHEDULES = Registry(
    "schedule", "sparsebench.schedules", _functions("pruning.schedules", "linear", "cubic", "constant", "one_shot")
)

OPTIMIZERS = Registry("optimizer", "sparsebench.optimizers", _functions("training.optimizers", "adam", "adamw", "sgd"))

LEARNING_SCHEDULES = Registry(
    "learning schedule",
    "sparsebench.learning_schedules",
    _functions("training.optimizers", "step", "constant", "cosine", "one_cycle"),
)
