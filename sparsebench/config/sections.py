"""The sections of a config, frozen, and what they are made of: values that keys may have, and how they are written."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from sparsebench.registry import DATASETS, MODELS, SCHEDULES, Registry, is_reference

Item = TypeVar("Item")


_NUMBER = re.compile(r"\b(?:int|float)\b")


class Section(BaseModel):
    """A part of the config: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant; pydantic takes them for 1 and 0."""
        kind = str(cls.model_fields[str(info.field_name)].annotation)
        if _NUMBER.search(kind) and "bool" not in kind:
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, bool) for one in inner):
                raise ValueError("true and false are no numbers; give one.")
        return value


def named(registry: Registry) -> AfterValidator:
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
    return value if isinstance(value, Sequence) else [value]


def table(value: Any) -> Any:
    """Accept a name where a table is meant."""
    return {"name": value} if isinstance(value, str) else value


def _tables(value: Any) -> Any:
    return [table(item) for item in (value if isinstance(value, list | tuple) else [value])]


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an axis that names the same point twice: its trials could not be told apart."""
    # Networks and datasets have no label: they are told apart by their name alone.
    names = [getattr(value, "label", getattr(value, "name", value)) for value in values]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice; name each value once.")
    return values


def _increasing(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(values))


Axis = Annotated[tuple[Item, ...], BeforeValidator(_sequence), AfterValidator(_unique)]
Increasing = Annotated[Axis[Item], AfterValidator(_increasing)]
Tables = Annotated[tuple[Item, ...], BeforeValidator(_tables), AfterValidator(_unique)]
NamedTables = Annotated[tuple[Item, ...], BeforeValidator(_tables), BeforeValidator(_sequence), AfterValidator(_unique)]

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
NoneOrMore = Annotated[int, Field(ge=0, le=2**31 - 1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
UpToOne = Annotated[float, Field(gt=0, le=1)]
BetweenZeroAndOne = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
SecondsOfADay = Annotated[float, Field(gt=0, le=86_400)]

MAX_CALIBRATION_BATCHES = 2000
"""int8 calibration never reads more training batches than this."""

CalibrationBatches = Annotated[int, Field(ge=1, le=MAX_CALIBRATION_BATCHES)]


class ModelConfig(Section):
    """A network by name or as ``package.module:callable``, and the arguments it is built with."""

    name: Annotated[str, named(MODELS)] = Field(
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
        found = (self.weights.replace("{seed}", str(seed)) for seed in seeds) if self.weights is not None else ()
        return tuple(dict.fromkeys(found))


class CollateConfig(Section):
    """A collate function as ``package.module:callable``, and the keyword arguments that it is always given."""

    name: str = Field(description="The function, as 'package.module:callable'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the function.")

    @field_validator("name")
    @classmethod
    def _is_reference(cls, name: str) -> str:
        if not is_reference(name):
            raise ValueError("it is no reference; write it as 'package.module:callable'.")
        return name

    @model_serializer
    def _as_it_was_written(self) -> Any:
        """Without options its name stands for it."""
        return {"name": self.name, "options": self.options} if self.options else self.name


class DataConfig(Section):
    """A dataset by name or as ``package.module:callable``, and the arguments it is loaded with."""

    name: Annotated[str, named(DATASETS)] = Field(
        "digits", description="The data: a name from 'sparsebench list data', or 'package.module:callable'."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for what loads the data.")
    collate: Annotated[CollateConfig, BeforeValidator(table)] | None = Field(
        None,
        description="What makes a batch (inputs, labels) of samples: 'package.module:callable', or a table of its name "
        "and options; none by default.",
    )


class PruneConfig(Section):
    """How sparsity grows during training."""

    schedule: Annotated[str, named(SCHEDULES)] = Field(
        "linear", description="How sparsity rises to the threshold: 'linear', 'cubic', 'constant' or 'one_shot'."
    )
    hold: Fraction = Field(
        0.0,
        description="Fraction of training, at its end, that is spent at full sparsity so that the network recovers.",
    )
    every: Count = Field(1, description="Training steps between two prunings.")
    include_classifier: bool = Field(False, description="Whether the last prunable layer is pruned as well.")
    per_layer: dict[str, Fraction] = Field(
        default_factory=dict,
        description="Thresholds of their own for layers, by name or pattern ('features.*'); 0 keeps a layer dense.",
    )


class QuantizeConfig(Section):
    """How int8 is calibrated."""

    calibration_batches: Increasing[CalibrationBatches] = Field(
        (MAX_CALIBRATION_BATCHES,),
        min_length=1,
        description="Most training batches that calibration reads. Several numbers are an axis of the sweep for the "
        "schemes that calibrate.",
    )


class MeasureConfig(Section):
    """How latency is measured: all networks of one backend, batch size and number of threads together, in pairs."""

    batch_sizes: Axis[Count] = Field((1,), description="Samples in one call; none at all to time nothing.")
    threads: Axis[Count] = Field((1,), min_length=1, description="Threads inside one operation.")
    seconds_cap: SecondsOfADay = Field(
        45.0,
        description="How long one session of networks that are timed together may last; where the least that it takes "
        "is longer, it says so before it begins.",
    )
    precision: BetweenZeroAndOne = Field(
        0.006, description="Half-width of the intervals at which a session stops before its cap, as a fraction."
    )
    band: BetweenZeroAndOne = Field(
        0.01, description="Differences up to this fraction do not matter: inside it lies EQUIVALENT."
    )
    block_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        5.0, description="Each network's turn in a round lasts at least so long."
    )
    workers: bool = Field(
        True, description="Whether fresh worker processes time; otherwise the sweep's own process does, less truly."
    )
    cache: Literal["hot", "cold"] = Field(
        "hot",
        description="hot: calls follow one another, so that a network finds its weights in the caches. cold: other "
        "memory, as large as the largest cache, is touched before each call.",
    )
    hang_seconds: SecondsOfADay = Field(
        600.0, description="A worker that stays at one network for longer is ended, and that network's timing fails."
    )
    all_seeds: bool = Field(False, description="Whether the networks of every seed are timed, not only the first's.")


class RunConfig(Section):
    """How stages are run. Nothing of it is part of a stage's key: a run may go on with other settings."""

    threads: Count | None = Field(
        None,
        description="Threads inside one operation of torch; by default all cores, shared among --jobs. Results differ "
        "in the last digits between numbers of threads.",
    )
    stage_seconds: AboveZero | None = Field(
        None, description="A stage that runs for longer is ended and has failed; no limit by default."
    )


class RayConfig(Section):
    """What tasks ask of a Ray cluster, for ``--executor ray``. Nothing of it makes another network."""

    cpus: Count = Field(1, description="Processors, and threads, of each task; timing has all of its node.")
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
