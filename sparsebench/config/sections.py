"""The sections of a config, frozen, and the config itself."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from sparsebench.config.training import DistillConfig, LearningScheduleConfig, OptimizerConfig, QatConfig, TrainConfig
from sparsebench.config.values import (
    AboveZero,
    Axis,
    BetweenZeroAndOne,
    Count,
    Fraction,
    Increasing,
    NamedTables,
    SecondsOfADay,
    Section,
    Tables,
    named,
    run_name,
)
from sparsebench.registry import BACKENDS, DATASETS, MODELS, PRUNERS, SCHEDULES, SCHEMES

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

    name: Annotated[str, named(PRUNERS)] = Field(description="The pruner, from 'sparsebench list pruners'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the pruner.")
    thresholds: Increasing[Fraction] | None = Field(
        None, min_length=1, description="Its own thresholds, in place of the sweep's."
    )

    @property
    def what_matters(self) -> dict[str, Any]:
        """What a network that it prunes depends on, beside the threshold."""
        return self.model_dump(mode="json", exclude={"thresholds"})


class BackendConfig(Component):
    """A backend by name and its options, such as ``{ name = "openvino", options = { preset = "mixed" } }``."""

    name: Annotated[str, named(BACKENDS)] = Field(description="The backend, from 'sparsebench list backends'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the backend.")


class DataConfig(Section):
    """A dataset by name or as ``package.module:callable``, and the arguments it is loaded with."""

    name: Annotated[str, named(DATASETS)] = Field(
        "digits", description="The data: a name from 'sparsebench list datasets', or 'package.module:callable'."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for the dataset's loader.")
    collate: str | None = Field(None, description="Collate function as 'package.module:callable'; none by default.")


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
        description="About how long one session of networks that are timed together may last; up to twice as long "
        "where there are so many networks that no verdict would be possible otherwise.",
    )
    precision: BetweenZeroAndOne = Field(
        0.01, description="Half-width of the intervals at which a session stops before its cap, as a fraction."
    )
    band: BetweenZeroAndOne = Field(
        0.01, description="Differences up to this fraction do not matter: inside it lies EQUIVALENT."
    )
    block_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        50.0, description="Each network's turn in a round lasts at least so long."
    )
    workers: bool = Field(
        True, description="Whether fresh worker processes time; otherwise the sweep's own process does, less truly."
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


class SweepConfig(Section):
    """Everything a run is made from. The axes stand first; their product is the set of trials."""

    name: Annotated[str, AfterValidator(run_name)] = Field(
        "default", description="Names the run directory and the report: letters, digits, '.', '_' and '-'."
    )
    thresholds: Increasing[Fraction] = Field(
        (0.0, 0.5, 0.8, 0.9, 0.95),
        min_length=1,
        description="Fractions of the prunable weights that are zero, or removed, at the end; 0 is the dense control.",
    )
    schemes: Axis[Annotated[str, named(SCHEMES)]] = Field(
        ("fp32", "dynamic", "static", "both"),
        min_length=1,
        description="Numeric formats; see 'sparsebench list schemes'.",
    )
    seeds: Axis[Annotated[int, Field(ge=0, lt=2**32)]] = Field(
        (0, 1, 2), min_length=1, description="Each is a training of its own; three or more give error bars."
    )
    pruners: NamedTables[PrunerConfig] = Field(
        (PrunerConfig(name="magnitude"),), min_length=1, description="How weights are chosen: names, or tables."
    )
    backends: NamedTables[BackendConfig] = Field(
        (BackendConfig(name="eager"),), min_length=1, description="What runs the network: names, or tables."
    )
    model: Tables[ModelConfig] = Field((ModelConfig(),), min_length=1, description="The network, or several.")
    data: Tables[DataConfig] = Field((DataConfig(),), min_length=1, description="The data, or several sets.")
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


SECTIONS: Mapping[str, type[Section]] = {
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
"""Every section by its name; the axes and the sections themselves stand in that without a name."""
