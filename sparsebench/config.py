"""The configuration of a sweep: frozen models, TOML in, every fault reported at once with its remedy."""

import copy
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sparsebench.errors import ConfigError
from sparsebench.registry import (
    BACKENDS,
    DATASETS,
    LEARNING_SCHEDULES,
    MODELS,
    OPTIMIZERS,
    PRUNERS,
    SCHEDULES,
    SCHEMES,
    TRAINERS,
    Registry,
    nearest,
)

MAX_CALIBRATION_BATCHES = 2000
"""int8 calibration never reads more training batches than this."""

Number = TypeVar("Number", int, float)

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _named(registry: Registry) -> AfterValidator:
    """Return a validator that accepts what ``registry`` knows and replaces aliases."""

    def check(name: str) -> str:
        problem = registry.problem(name)
        if problem:
            raise ValueError(problem)
        return registry.canonical(name)

    return AfterValidator(check)


def _sequence(value: Any) -> Any:
    """Accept one value, or a string with commas, where a list is meant: ``--set thresholds=0,0.5``."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, Sequence):
        return value
    return [value]


def _tables(value: Any) -> Any:
    """Accept one table where an array of tables is meant, and a name where a table is."""
    values = value if isinstance(value, list | tuple) else [value]
    return [{"name": item} if isinstance(item, str) else item for item in values]


def _table(value: Any) -> Any:
    """Accept a name where a table is meant."""
    return {"name": value} if isinstance(value, str) else value


def _only_from_dense(value: Any, info: ValidationInfo) -> Any:
    """Refuse a teacher where there is no dense network of the same seed."""
    start_from = info.data.get("start_from", "dense")
    if value is not None and start_from != "dense":
        raise ValueError(
            f"the teacher is the dense network that training starts from, and start_from is {start_from!r}; "
            "set start_from = 'dense', or leave distill out."
        )
    return value


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an axis that names the same point twice."""
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice; name each value once.")
    return values


def _unique_names(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse two networks or datasets of one name: their trials could not be told apart."""
    _unique(tuple(value.name for value in values))
    return values


def _unique_labels(values: tuple[Any, ...]) -> tuple[Any, ...]:
    _unique(tuple(value.label for value in values))
    return values


def _increasing(values: tuple[Number, ...]) -> tuple[Number, ...]:
    return tuple(sorted(values))


def _run_name(name: str) -> str:
    if not _RUN_NAME.fullmatch(name) or len(name) > 100:
        raise ValueError(
            "a run name has letters, digits, '.', '_' and '-', begins with a letter or digit, at most 100."
        )
    return name


Threshold = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[int, Field(ge=1)]
CalibrationBatches = Annotated[int, Field(ge=1, le=MAX_CALIBRATION_BATCHES)]


class Section(BaseModel):
    """A part of the config: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelConfig(Section):
    """A network by name or as ``package.module:callable``, and the arguments it is built with."""

    name: Annotated[str, _named(MODELS)] = Field(
        "small_cnn", description="The network: a name from 'sparsebench list models', or 'package.module:callable'."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for the network's factory.")
    weights: str | None = Field(
        None,
        min_length=1,
        description=(
            "A checkpoint in place of dense training: a path, in which '{seed}' stands for each seed, 'pretrained', or "
            "'torchvision:IMAGENET1K_V2'."
        ),
    )
    new_head: bool = Field(False, description="Whether the checkpoint's classifier is replaced by a fresh one.")
    strict: bool = Field(True, description="Whether the checkpoint must fit; otherwise what fits of it is loaded.")

    @model_validator(mode="after")
    def _weights_are_given(self) -> "ModelConfig":
        if self.weights is None and (self.new_head or not self.strict):
            raise ValueError("new_head and strict say how a checkpoint is loaded; give its path as weights.")
        return self

    def weights_of(self, seeds: Iterable[int]) -> tuple[str, ...]:
        """Return the checkpoints that the dense networks of ``seeds`` are loaded from, each once; none without any."""
        if self.weights is None:
            return ()
        return tuple(dict.fromkeys(self.weights.replace("{seed}", str(seed)) for seed in seeds))


class Component(Section):
    """A component by name and its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The component as it is named in records: ``n_m(m=4, n=1)``."""
        shown = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.name}({shown})" if shown else self.name


class PrunerConfig(Component):
    """A pruner by name and its options, such as ``{ name = "n_m", options = { n = 1, m = 4 } }``."""

    name: Annotated[str, _named(PRUNERS)] = Field(description="The pruner, from 'sparsebench list pruners'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the pruner.")
    thresholds: (
        Annotated[
            tuple[Threshold, ...], BeforeValidator(_sequence), AfterValidator(_unique), AfterValidator(_increasing)
        ]
        | None
    ) = Field(None, min_length=1, description="Its own thresholds, in place of the sweep's.")

    @property
    def what_matters(self) -> dict[str, Any]:
        """What a network that it prunes depends on, beside the threshold."""
        return self.model_dump(mode="json", exclude={"thresholds"})


class BackendConfig(Component):
    """A backend by name and its options, such as ``{ name = "openvino", options = { preset = "mixed" } }``."""

    name: Annotated[str, _named(BACKENDS)] = Field(description="The backend, from 'sparsebench list backends'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the backend.")


class DataConfig(Section):
    """A dataset by name or as ``package.module:callable``, and the arguments it is loaded with."""

    name: Annotated[str, _named(DATASETS)] = Field(
        "digits", description="The data: a name from 'sparsebench list datasets', or 'package.module:callable'."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for the dataset's loader.")
    collate: str | None = Field(None, description="Collate function as 'package.module:callable'; none by default.")


class OptimizerConfig(Section):
    """An optimizer by name and its options, such as ``{ name = "sgd", options = { momentum = 0.9 } }``."""

    name: Annotated[str, _named(OPTIMIZERS)] = Field(description="'adam', 'adamw' or 'sgd'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the optimizer.")


class LearningScheduleConfig(Section):
    """How the learning rate changes, by name, and its options."""

    name: Annotated[str, _named(LEARNING_SCHEDULES)] = Field(description="'step', 'constant', 'cosine' or 'one_cycle'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the schedule.")


class DistillConfig(Section):
    """Learning from the outputs of the dense network of the same seed, beside the labels (Hinton et al., 2015)."""

    alpha: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Weight of the teacher's part of the loss; that of the labels has the rest."
    )
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        4.0, description="What logits are divided by, so that unlikely classes count too."
    )


class TrainConfig(Section):
    """How networks are trained. ``learning_rate``, ``_step`` and ``_gamma`` are parameters of the trainer contract."""

    trainer: Annotated[str, _named(TRAINERS)] = Field(
        "default", description="'default', or a trainer class of your own as 'package.module:Class'."
    )
    epochs: Positive = Field(10, description="Epochs of each training: passes over the training split.")
    batch_size: Positive = Field(64, description="Samples in a training batch; also of the other splits.")
    steps_per_epoch: Positive | None = Field(
        None,
        description="Training steps after which an epoch ends, with batches that are drawn anew in each; all of the "
        "training split by default.",
    )
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(1e-3, description="Rate at the start.")
    learning_step: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="Thousands of training steps between two decays of the learning rate."
    )
    learning_gamma: Annotated[float, Field(gt=0, le=1)] = Field(0.1, description="Factor of each decay.")
    learning_schedule: Annotated[LearningScheduleConfig, BeforeValidator(_table)] = Field(
        LearningScheduleConfig(name="step"),
        description="How the learning rate changes: 'step' as learning_step and learning_gamma say, 'constant', "
        "'cosine' or 'one_cycle'.",
    )
    learning_warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Fraction of training, at its beginning, over which the learning rate rises linearly."
    )
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_table)] = Field(
        OptimizerConfig(name="adam"), description="How weights are updated: 'adam', 'adamw' or 'sgd'."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of each label that is spread evenly over all classes in training."
    )
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Largest norm of the gradients of all parameters together; none by default."
    )
    start_from: Literal["scratch", "dense", "previous"] = Field(
        "dense", description="What sparse training starts from: nothing, the dense network, or the threshold before."
    )
    dense_control: Literal["continued", "as_trained"] = Field(
        "continued",
        description="Whether threshold 0 continues from the dense network for as many epochs as the sparse ones do "
        "(equal budgets), or is the dense network as it was trained. Only start_from='dense' makes a difference.",
    )
    dense_epochs: Positive | None = Field(
        None,
        description="Epochs of the dense network that sparse training starts from; as many as epochs by default. Only "
        "start_from='dense' makes a difference.",
    )
    dense_learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Learning rate of that dense network; learning_rate by default."
    )
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = Field(
        "cuda:0", description="Where training runs; the CPU where no such GPU exists."
    )
    distill: Annotated[DistillConfig | None, AfterValidator(_only_from_dense)] = Field(
        None, description="Learning from the dense network too; not by default."
    )
    amp: Literal["none", "bf16", "fp16"] = Field(
        "none", description="Autocast during training but that of qat; fp16 on a GPU only."
    )
    channels_last: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether images have their channels last in memory in training, and in evaluation unless 'off': "
        "where that is faster.",
    )
    compile: bool = Field(False, description="Whether torch.compile compiles networks for their training.")
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        10.0,
        description="Least time between two checkpoints of one training, from which a killed run goes on within it; "
        "0 for one after every epoch.",
    )

    @property
    def what_matters(self) -> dict[str, Any]:
        """What a trained network depends on. How fast and where it is trained may change from one start to the next."""
        how = {"device", "start_from", "dense_control", "dense_epochs", "dense_learning_rate", *HOW_TRAINING_RUNS}
        return self.model_dump(mode="json", exclude=how)

    @property
    def of_dense(self) -> dict[str, Any]:
        """In what the training of the dense network that sparse ones start from differs from theirs."""
        own = {"epochs": self.dense_epochs, "learning_rate": self.dense_learning_rate}
        return {key: value for key, value in own.items() if value is not None}


HOW_TRAINING_RUNS = ("channels_last", "compile", "checkpoint_seconds")
"""Keys of ``TrainConfig`` that the trainer is told but that make no other network, rounding aside."""


class PruneConfig(Section):
    """How sparsity grows during training."""

    schedule: Annotated[str, _named(SCHEDULES)] = Field(
        "linear", description="How sparsity rises to the threshold: 'linear', 'cubic', 'constant' or 'one_shot'."
    )
    hold: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Fraction of training, at its end, that is spent at full sparsity so that the network recovers.",
    )
    every: Positive = Field(1, description="Training steps between two prunings.")
    include_classifier: bool = Field(False, description="Whether the last prunable layer is pruned as well.")
    per_layer: dict[str, Threshold] = Field(
        default_factory=dict,
        description="Thresholds of their own for layers, by name or pattern ('features.*'); 0 keeps a layer dense.",
    )


class QuantizeConfig(Section):
    """How int8 is calibrated."""

    calibration_batches: Annotated[
        tuple[CalibrationBatches, ...],
        BeforeValidator(_sequence),
        AfterValidator(_unique),
        AfterValidator(_increasing),
    ] = Field(
        (MAX_CALIBRATION_BATCHES,),
        min_length=1,
        description="Most training batches that calibration reads. Several numbers are an axis of the sweep for the "
        "schemes that calibrate.",
    )


class QatConfig(Section):
    """How long and how fast scheme ``qat`` trains a network further, always in fp32."""

    epochs: Positive = 3
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1e-4, description="Rate at the start; it decays as in [train]."
    )


class MeasureConfig(Section):
    """How latency is measured: all networks of one backend, batch size and number of threads together, in pairs."""

    batch_sizes: Annotated[tuple[Positive, ...], BeforeValidator(_sequence), AfterValidator(_unique)] = Field(
        (1,), description="Samples in one call; none at all to time nothing."
    )
    threads: Annotated[tuple[Positive, ...], BeforeValidator(_sequence), AfterValidator(_unique)] = Field(
        (1,), min_length=1, description="Threads inside one operation."
    )
    seconds_cap: Annotated[float, Field(gt=0, le=86_400)] = Field(
        45.0,
        description="About how long one session of networks that are timed together may last; up to twice as long "
        "where there are so many networks that no verdict would be possible otherwise.",
    )
    precision: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="Half-width of the intervals at which a session stops before its cap, as a fraction."
    )
    band: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="Differences up to this fraction do not matter: inside it lies EQUIVALENT."
    )
    block_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        50.0, description="Each network's turn in a round lasts at least so long."
    )
    workers: bool = Field(
        True, description="Whether fresh worker processes time; otherwise the sweep's own process does, less truly."
    )
    hang_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        600.0, description="A worker that stays at one network for longer is ended, and that network's timing fails."
    )
    all_seeds: bool = Field(False, description="Whether the networks of every seed are timed, not only the first's.")


class RunConfig(Section):
    """How stages are run. Nothing of it is part of a stage's key: a run may go on with other settings."""

    threads: Positive | None = Field(
        None,
        description="Threads inside one operation of torch; by default all cores, shared among --jobs. Results differ "
        "in the last digits between numbers of threads.",
    )
    stage_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="A stage that runs for longer is ended and has failed; no limit by default."
    )


class RayConfig(Section):
    """What tasks ask of a Ray cluster, for ``--executor ray``. Nothing of it makes another network."""

    cpus: Positive = Field(1, description="Processors, and threads, of each task; timing has all of its node.")
    gpus: Annotated[float, Field(gt=0, le=64)] = Field(
        1.0, description="GPUs of each training; 0.25 lets four share one. Without effect in a cluster without GPUs."
    )
    measure_resource: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Networks are timed on a node that was started with this custom resource; on the driver's node by "
        "default.",
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="How often a task whose worker or node was lost is tried again."
    )

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("Ray gives out a part of one GPU, or whole GPUs.")
        return gpus


class SweepConfig(Section):
    """Everything a run is made from. The axes stand first; their product is the set of trials."""

    name: Annotated[str, AfterValidator(_run_name)] = Field(
        "default", description="Names the run directory and the report: letters, digits, '.', '_' and '-'."
    )
    thresholds: Annotated[
        tuple[Threshold, ...], BeforeValidator(_sequence), AfterValidator(_unique), AfterValidator(_increasing)
    ] = Field(
        (0.0, 0.5, 0.8, 0.9, 0.95),
        min_length=1,
        description="Fractions of the prunable weights that are zero, or removed, at the end; 0 is the dense control.",
    )
    schemes: Annotated[
        tuple[Annotated[str, _named(SCHEMES)], ...], BeforeValidator(_sequence), AfterValidator(_unique)
    ] = Field(
        ("fp32", "dynamic", "static", "both"),
        min_length=1,
        description="Numeric formats; see 'sparsebench list schemes'.",
    )
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_sequence), AfterValidator(_unique)] = Field(
        (0, 1, 2), min_length=1, description="Each is a training of its own; three or more give error bars."
    )
    pruners: Annotated[
        tuple[PrunerConfig, ...], BeforeValidator(_tables), BeforeValidator(_sequence), AfterValidator(_unique_labels)
    ] = Field((PrunerConfig(name="magnitude"),), min_length=1, description="How weights are chosen: names, or tables.")
    backends: Annotated[
        tuple[BackendConfig, ...], BeforeValidator(_tables), BeforeValidator(_sequence), AfterValidator(_unique_labels)
    ] = Field((BackendConfig(name="eager"),), min_length=1, description="What runs the network: names, or tables.")
    model: Annotated[tuple[ModelConfig, ...], BeforeValidator(_tables), AfterValidator(_unique_names)] = Field(
        (ModelConfig(),), min_length=1, description="The network, or several."
    )
    data: Annotated[tuple[DataConfig, ...], BeforeValidator(_tables), AfterValidator(_unique_names)] = Field(
        (DataConfig(),), min_length=1, description="The data, or several sets."
    )
    train: TrainConfig = TrainConfig()
    prune: PruneConfig = PruneConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    qat: QatConfig = QatConfig()
    measure: MeasureConfig = MeasureConfig()
    run: RunConfig = RunConfig()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _checkpoints_are_used(self) -> "SweepConfig":
        if self.train.start_from == "scratch" and any(model.weights for model in self.model):
            raise ValueError(
                "train.start_from = 'scratch' leaves the checkpoint in model.weights unused; "
                "choose 'dense' or 'previous', or give no weights."
            )
        return self


DEFAULT_SOURCE = "embedded default config"


def default_toml() -> str:
    """Return the text of the config that ``sparsebench run`` sweeps when it is given none."""
    return files("sparsebench").joinpath("default.toml").read_text(encoding="utf-8")


def load_config(
    path: str | os.PathLike[str] | Mapping[str, Any] | SweepConfig | None = None, overrides: Iterable[str] = ()
) -> SweepConfig:
    """Read a config from TOML and apply overrides.

    Args:
        path: the TOML file, or its content as a mapping, or a config; None for the embedded default.
        overrides: assignments ``section.key=value``, the value in TOML or as bare text.

    Returns:
        The resolved config.

    Raises:
        ConfigError: with every fault found, each naming the file, the key, what was found and what is allowed.
    """
    source, data = _content(path)
    overrides = list(overrides)
    problems = [problem for problem in (_override(data, text) for text in overrides) if problem]
    try:
        config = SweepConfig.model_validate(data)
    except ValidationError as error:
        overridden = {text.partition("=")[0].strip(): f"--set {text}" for text in overrides}
        problems += [_sentence(source, overridden, dict(fault)) for fault in error.errors() if not _echo(dict(fault))]
    if problems:
        raise ConfigError(f"The config cannot be used ({len(problems)} problem{'s' * (len(problems) > 1)}):", problems)
    return config


def _content(path: str | os.PathLike[str] | Mapping[str, Any] | SweepConfig | None) -> tuple[str, dict[str, Any]]:
    """Return what is read, as errors name it, and its content."""
    if path is None:
        return DEFAULT_SOURCE, tomllib.loads(default_toml())
    if isinstance(path, SweepConfig):
        return "the config", path.model_dump(mode="json")
    if isinstance(path, Mapping):
        return "the config", copy.deepcopy(dict(path))
    return str(path), _read(Path(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.toml")]) if path.parent.is_dir() else None
        hint = f" Did you mean {str(path.parent / near)!r}?" if near else " Give the path of an existing TOML file."
        raise ConfigError("The config cannot be used (1 problem):", [f"{path}: there is no such file.{hint}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"{path}: this is not valid TOML: {error}."
        raise ConfigError("The config cannot be used (1 problem):", [problem]) from error
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}."
        raise ConfigError("The config cannot be used (1 problem):", [problem]) from error


def _override(data: dict[str, Any], text: str) -> str | None:
    """Apply one ``a.b=v`` to ``data`` in place; return the problem with it, or None."""
    key, separator, raw = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not separator or not all(path):
        return f"--set {text}: write it as section.key=value, for example --set train.epochs=20."
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    target: Any = data
    for part in path[:-1]:
        if isinstance(target, list):
            if len(target) != 1:
                return f"--set {text}: the config has {len(target)} [[{path[0]}]] tables; set this in the file."
            target = target[0]
        target = target.setdefault(part, {})
        if isinstance(target, str):
            return f"--set {text}: {part} is a name there; write {part}.name={target!r} as a table first."
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if not isinstance(target, dict):
        return f"--set {text}: {'.'.join(path[:-1])} is no section of the config."
    target[path[-1]] = value
    return None


def _sections() -> Mapping[str, type[Section]]:
    return {
        "": SweepConfig,
        "model": ModelConfig,
        "pruners": PrunerConfig,
        "backends": BackendConfig,
        "data": DataConfig,
        "train": TrainConfig,
        "train.optimizer": OptimizerConfig,
        "train.learning_schedule": LearningScheduleConfig,
        "train.distill": DistillConfig,
        "prune": PruneConfig,
        "quantize": QuantizeConfig,
        "qat": QatConfig,
        "measure": MeasureConfig,
        "run": RunConfig,
        "ray": RayConfig,
    }


def _echo(fault: dict[str, Any]) -> bool:
    """Whether a fault only follows from another: a list is 'too short' once its wrong items are dropped."""
    return fault["type"] == "too_short" and bool(fault["input"])


def _sentence(source: str, overridden: Mapping[str, str], fault: dict[str, Any]) -> str:
    """Turn one pydantic error into a sentence: where, what was found, what is allowed."""
    location = [part for part in fault["loc"] if not isinstance(part, int)]
    key = ".".join(str(part) for part in location) or "the config"
    source = overridden.get(key, source)
    found, context = fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            section = _sections().get(".".join(str(part) for part in location[:-1]), SweepConfig)
            allowed = sorted(section.model_fields)
            guess = nearest(str(location[-1]), allowed)
            suggestion = f" Did you mean {guess!r}?" if guess else ""
            where = f"[{'.'.join(str(part) for part in location[:-1])}]" if len(location) > 1 else "the top level"
            return f"{source}: {key} is no key of {where}.{suggestion} Allowed there: {', '.join(allowed)}."
        case "value_error" if isinstance(found, Mapping):
            return f"{source}: {key}: {context['error']}"
        case "value_error":
            return f"{source}: {key} = {found!r}: {context['error']}"
        case "greater_than_equal" | "less_than" | "less_than_equal" | "greater_than" | "finite_number":
            return f"{source}: {key} = {found!r} is out of range; {_range(location)}."
        case "float_parsing" | "float_type":
            return f"{source}: {key} = {found!r} is no number; {_range(location)}."
        case "int_parsing" | "int_type" | "int_from_float":
            return f"{source}: {key} = {found!r} is no whole number; {_range(location)}."
        case "too_short":
            return f"{source}: {key} is empty; name at least one value."
        case "literal_error":
            return f"{source}: {key} = {found!r} is not allowed; choose {context['expected']}."
        case "string_pattern_mismatch":
            return f"{source}: {key} = {found!r} is not allowed; write 'cpu', 'cuda' or 'cuda:0'."
        case _:
            return f"{source}: {key} = {found!r}: {fault['msg']}."


_RANGES = {
    "thresholds": "a threshold is the fraction of prunable weights that is zero: 0 (the dense control) up to, not "
    "including, 1",
    "seeds": "a seed is a whole number from 0 to 4294967295",
    "quantize.calibration_batches": f"allowed is 1 to {MAX_CALIBRATION_BATCHES}",
    "prune.hold": "allowed is 0 up to, not including, 1",
    "train.learning_gamma": "allowed is above 0, at most 1",
    "measure.seconds_cap": "allowed is above 0, at most 86400",
    "measure.precision": "it is a fraction between 0 and 1, 0.01 for one percent",
    "measure.band": "it is a fraction between 0 and 1, 0.01 for one percent",
    "measure.block_ms": "allowed is above 0, at most 60000",
    "measure.hang_seconds": "allowed is above 0, at most 86400",
    "train.learning_warmup": "allowed is 0 up to, not including, 1",
    "train.label_smoothing": "allowed is 0 up to, not including, 1",
    "train.distill.alpha": "allowed is above 0, at most 1",
    "train.checkpoint_seconds": "allowed is 0 and above",
    "ray.gpus": "allowed is above 0, at most 64",
    "ray.retries": "allowed is 0 to 100",
}


def _range(location: Sequence[Any]) -> str:
    return _RANGES.get(".".join(str(part) for part in location), "it must be above 0")
