"""What the reference trainer is set to: what the fixed constructor of the contract cannot carry."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from sparsebench.config import MAX_CALIBRATION_BATCHES
from sparsebench.metrics import Metric
from sparsebench.training.steps import Epoch

_MATTERS = (
    *("pruner", "pruner_options", "per_layer", "schedule", "hold", "prune_every", "include_classifier", "keep_zeros"),
    *("steps_per_epoch", "label_smoothing", "clip_norm", "distill", "amp"),
)


class TrainingSettings:
    """Class attributes that a subclass or an instance may set, as the config of a run does."""

    pruner: str = "magnitude"
    """How weights are chosen: a name in ``PRUNERS``."""
    pruner_options: Mapping[str, Any] = MappingProxyType({})
    """Further keyword arguments of the pruner."""
    per_layer: Mapping[str, float] = MappingProxyType({})
    """Thresholds of their own for layers, by name or pattern; 0 keeps a layer dense."""
    schedule: str = "linear"
    """How sparsity grows: a name in ``SCHEDULES``."""
    hold: float = 0.0
    """Fraction of training, at its end, that is spent at full sparsity; in [0, 1)."""
    prune_every: int = 1
    """Training steps between two prunings; the end of an epoch always prunes."""
    include_classifier: bool = False
    """Whether the last prunable layer is pruned as well."""
    keep_zeros: bool = False
    """Whether training keeps the zeros that the network starts with, and makes no more, in place of pruning."""
    calibration_batches: int = MAX_CALIBRATION_BATCHES
    """Training batches read by ``evaluate(net, quant_mode=True)``; never more than 2000."""
    optimizer_name: str = "adam"
    """How weights are updated: a name in ``OPTIMIZERS``."""
    optimizer_options: Mapping[str, Any] = MappingProxyType({})
    """Further keyword arguments of the optimizer, such as ``momentum`` and ``weight_decay``."""
    learning_schedule: str = "step"
    """How the learning rate changes: a name in ``LEARNING_SCHEDULES``."""
    learning_schedule_options: Mapping[str, Any] = MappingProxyType({})
    """Further keyword arguments of the learning schedule."""
    learning_warmup: float = 0.0
    """Fraction of training, at its beginning, over which the learning rate rises linearly; in [0, 1)."""
    steps_per_epoch: int | None = None
    """Training steps after which an epoch ends; None for a pass over the training split."""
    label_smoothing: float = 0.0
    """Share of each label, in [0, 1), that is spread evenly over all classes in training."""
    clip_norm: float | None = None
    """Largest norm of the gradients of all parameters together; None for any."""
    distill: Mapping[str, float] | None = None
    """``alpha`` and ``temperature`` of learning from ``teacher`` too, see ``Distillation``; None for labels alone."""
    teacher: nn.Module | None = None
    """The network that ``distill`` learns from: the dense one."""
    metric: Metric | None = None
    """What networks are judged by in place of accuracy, which chooses the epoch too; None for accuracy."""
    criterion: Callable[[Any, Tensor], Tensor] = nn.CrossEntropyLoss()
    """The loss, of outputs and targets."""
    amp: str = "none"
    """Autocast during training: ``none``, ``bf16`` or, on a GPU, ``fp16``."""
    channels_last: str = "auto"
    """Whether images and weights have their channels last during training: ``auto`` where that is faster, ``on``,
    ``off``. They have in evaluation where that is faster, unless ``off``."""
    compile: bool = False
    """Whether ``torch.compile`` compiles the network for its training steps."""
    checkpoint_seconds: float | None = None
    """Least time between two checkpoints, from which a training that was killed goes on when the same is started again:
    same settings, seed and weights, and a data set of the same sizes. 0 writes one after every epoch, None none. They
    are ``models_path/name.resume.pt``. Chance in worker processes of a loader is not part of them."""
    keep_checkpoint: bool = False
    """Whether the last checkpoint stays when training is done, for a caller that has yet to save what was trained."""
    on_epoch: Callable[[Epoch], None] | None = None
    """Called after each epoch."""

    def what_matters(self) -> dict[str, Any]:
        """Return the settings that the result of a training depends on, by name; rates are those of its optimizer."""
        found = {name: getattr(self, name) for name in _MATTERS}
        if self.metric is not None:
            found["metric"] = self.metric.scale.metric
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}
