"""The sections that say how networks are trained."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from sparsebench.config.sections import AboveZero, Count, Fraction, NoneOrMore, Section, UpToOne, named, table
from sparsebench.registry import LEARNING_SCHEDULES, LOSSES, METRICS, OPTIMIZERS, TRAINERS
from sparsebench.store.fields import LEFT_OUT
from sparsebench.wording.text import listing

HOW_TRAINING_RUNS = ("channels_last", "compile", "checkpoint_seconds")
"""Keys of ``TrainConfig`` that the trainer is told but that make no other network, rounding aside."""


def _only_from_dense(value: Any, info: ValidationInfo) -> Any:
    start_from = info.data.get("start_from", "dense")
    if value is not None and start_from != "dense":
        raise ValueError(
            f"the teacher is the dense network that training starts from, and start_from is {start_from!r}; "
            "set start_from = 'dense', or leave distill out."
        )
    return value


def _known_criterion(name: str | None) -> str | None:
    if name is not None and (problem := LOSSES.problem(name)):
        raise ValueError(problem)
    return name


class OptimizerConfig(Section):
    """An optimizer by name and its options, such as ``{ name = "sgd", options = { momentum = 0.9 } }``."""

    name: Annotated[str, named(OPTIMIZERS)] = Field(description="'adam', 'adamw' or 'sgd'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the optimizer.")


class LearningScheduleConfig(Section):
    """How the learning rate changes, by name, and its options."""

    name: Annotated[str, named(LEARNING_SCHEDULES)] = Field(description="'step', 'constant', 'cosine' or 'one_cycle'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the schedule.")


class DistillConfig(Section):
    """Learning from the outputs of the dense network of the same seed, beside the labels (Hinton et al., 2015)."""

    alpha: UpToOne = Field(
        0.5, description="Weight of the teacher's part of the loss; that of the labels has the rest."
    )
    temperature: AboveZero = Field(4.0, description="What logits are divided by, so that unlikely classes count too.")


class MetricConfig(Section):
    """What networks are judged by, and what of it a function of your own does not say itself."""

    name: Annotated[str, named(METRICS)] = Field(
        "accuracy", description="The metric: a name from 'sparsebench list metrics', or 'package.module:callable'."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the metric.")
    higher_is_better: bool | None = Field(
        None, description="Which way is better; a metric of your own needs it here or as an attribute."
    )
    unit: Annotated[str, Field(max_length=20)] | None = Field(
        None, description="Of its values, such as 'mm'; '%' where they are fractions that are read in percent."
    )
    digits: Annotated[int, Field(ge=0, le=12)] | None = Field(
        None, description="Decimals of its values; three or four significant digits by default."
    )

    @property
    def what_matters(self) -> dict[str, Any]:
        """What a value of the metric depends on; empty of accuracy."""
        own = self.model_dump(mode="json")
        return {} if own == MetricConfig().model_dump(mode="json") else {"metric": own}

    @property
    def chooses(self) -> dict[str, Any]:
        """What the choice of an epoch by the metric depends on, in which its unit has no part."""
        return self.model_dump(mode="json") | {"unit": None, "digits": None}

    @model_validator(mode="after")
    def _accuracy_says_all(self) -> "MetricConfig":
        given = [
            key for key in ("options", "higher_is_better", "unit", "digits") if getattr(self, key) not in ({}, None)
        ]
        if self.name == "accuracy" and given:
            raise ValueError(f"accuracy takes no {listing(given)}; leave that out, or name another metric.")
        return self


def is_accuracy(metric: MetricConfig) -> bool:
    """Whether a metric is accuracy: records then say nothing of it, as they did before there were others."""
    return not metric.what_matters


class TrainConfig(Section):
    """How networks are trained. ``learning_rate``, ``_step`` and ``_gamma`` are parameters of the trainer contract."""

    trainer: Annotated[str, named(TRAINERS)] = Field(
        "default", description="'default', or a trainer class of your own as 'package.module:Class'."
    )
    epochs: NoneOrMore = Field(
        10,
        description="Epochs of each training: passes over the training split. 0 trains nothing: the checkpoint in "
        "model.weights is the dense network, pruned to each threshold as it is.",
    )
    batch_size: Count = Field(64, description="Samples in a training batch; also of the other splits.")
    steps_per_epoch: Count | None = Field(
        None,
        description="Training steps after which an epoch ends, with batches that are drawn anew in each; all of the "
        "training split by default.",
    )
    learning_rate: AboveZero = Field(1e-3, description="Rate at the start.")
    learning_step: AboveZero = Field(
        1.0, description="Thousands of training steps between two decays of the learning rate."
    )
    learning_gamma: UpToOne = Field(0.1, description="Factor of each decay.")
    learning_schedule: Annotated[LearningScheduleConfig, BeforeValidator(table)] = Field(
        LearningScheduleConfig(name="step"),
        description="How the learning rate changes: 'step' as learning_step and learning_gamma say, 'constant', "
        "'cosine' or 'one_cycle'.",
    )
    learning_warmup: Fraction = Field(
        0.0, description="Fraction of training, at its beginning, over which the learning rate rises linearly."
    )
    optimizer: Annotated[OptimizerConfig, BeforeValidator(table)] = Field(
        OptimizerConfig(name="adam"), description="How weights are updated: 'adam', 'adamw' or 'sgd'."
    )
    criterion: Annotated[str | None, LEFT_OUT, AfterValidator(_known_criterion)] = Field(
        None,
        description="The loss: 'cross_entropy', 'bce', 'mse', 'l1', 'huber' or 'package.module:callable'; by default "
        "what goes with the metric, cross-entropy for accuracy.",
    )
    label_smoothing: Fraction = Field(
        0.0, description="Share of each label that is spread evenly over all classes in training."
    )
    clip_norm: AboveZero | None = Field(
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
    dense_epochs: Count | None = Field(
        None,
        description="Epochs of the dense network that sparse training starts from; as many as epochs by default. Only "
        "start_from='dense' makes a difference.",
    )
    dense_learning_rate: AboveZero | None = Field(
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
        description="Least time between two checkpoints of one training, from which a killed run resumes; "
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


class QatConfig(Section):
    """How long and how fast scheme ``qat`` trains a network further, always in fp32."""

    epochs: Count = 3
    learning_rate: AboveZero = Field(1e-4, description="Rate at the start; it decays as in [train].")
