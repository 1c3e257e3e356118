"""The steps of training, one epoch after another: forward, backward, update, and what keeps a network sparse."""

import copy
import math
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from sparsebench.errors import ModelError, PruningError, TrainingError
from sparsebench.pruning import GradualPruning, Masks
from sparsebench.registry import unknown_name

_AUTOCAST = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Reading a loss makes the CPU wait for a GPU, so there it is looked at only now and then.
_STEPS_BETWEEN_LOOKS_ON_GPU = 64


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
        epoch: its number, from 1.
        train_loss: mean loss of its training batches.
        val_loss: mean loss of all validation samples after it.
        val_accuracy: fraction of the validation samples classified rightly after it; None where a metric takes its
            place.
        threshold: fraction of the prunable weights that is zero after it, or removed with its channel.
        val_metric: that metric of the validation samples; None where it is accuracy.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float | None
    threshold: float
    val_metric: float | None = None


@dataclass
class BestEpoch:
    """Keeps the weights of the best epoch: best accuracy or metric in validation, then lower loss, then the later.

    Attributes:
        lower_is_better: whether the metric has its best value where it is lowest.
        number: of the best epoch so far; None before any was offered.
    """

    number: int | None = None
    rank: tuple[float, float] | None = None
    weights: dict[str, Any] = field(default_factory=dict)  # Empty where the network stands as after its best epoch.
    lower_is_better: bool = False

    def offer(self, epoch: Epoch, model: nn.Module, last: bool) -> None:
        """Take an epoch into account, after which ``model`` stands as it is; the last one's weights need no copy."""
        found = epoch.val_accuracy if epoch.val_metric is None else epoch.val_metric
        value = -math.inf if found is None else -found if self.lower_is_better else found
        rank = (value, -epoch.val_loss)
        if self.rank is None or rank >= self.rank:
            self.rank, self.number = rank, epoch.epoch
            self.weights = {} if last else copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        """Give ``model``, as it stands after the last epoch, the weights of the best."""
        if self.weights:
            model.load_state_dict(self.weights)


class Precision:
    """Autocast, and what a step needs that goes with it: scaled losses in fp16, clipped gradients.

    Args:
        amp: ``none``, ``bf16`` or ``fp16``; weights and their updates stay in the network's own precision.
        device: where training runs.
        clip_norm: the largest norm that the gradients of all parameters together may have; None for any.

    Raises:
        TrainingError: where this is not possible; the text says what is.

    Warns:
        UserWarning: where bf16 makes training slower.
    """

    def __init__(self, amp: str, device: torch.device, clip_norm: float | None = None) -> None:
        if problem := amp_problem(amp, device):
            raise TrainingError(problem)
        if clip_norm is not None and not clip_norm > 0:
            raise TrainingError(f"clip_norm is {clip_norm}; it must be above 0, or None for no clipping.")
        if amp == "bf16" and device.type == "cpu" and not _cpu_has_bf16():
            warnings.warn(
                "This CPU has no bf16 instructions, so that amp = 'bf16' makes training slower, convolutions many "
                "times; set amp to 'none'.",
                stacklevel=3,
            )
        self._device = device
        self._amp = amp
        self._clip_norm = clip_norm
        # fp16 gradients below 6e-8 would vanish (Micikevicius et al., Mixed Precision Training, 2018).
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass and its loss."""
        return autocast(self._amp, self._device)

    def update(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Differentiate ``loss`` and let ``optimizer`` make one step."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._clip_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()


def autocast(amp: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a forward pass in a precision: ``none``, ``bf16`` or ``fp16``."""
    dtype = _AUTOCAST[amp]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def amp_problem(amp: str, device: torch.device) -> str | None:
    """Return why a precision cannot be trained in on a device, as a sentence, or None where it can."""
    if amp not in _AUTOCAST:
        return unknown_name("amp", amp, _AUTOCAST)
    if amp == "fp16" and device.type == "cpu":
        return (
            "amp 'fp16' needs a GPU, and training runs on the CPU, where its small range gains nothing; set amp to "
            "'none', or to 'bf16' on a CPU that has bf16 instructions."
        )
    return None


def _cpu_has_bf16() -> bool:
    # By oneDNN's kernels for it; where that cannot be told, it is taken to have.
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return True


@dataclass
class Steps:
    """Trains a network over the batches of an epoch.

    Attributes:
        loss: of a network in training mode, inputs and labels.
        compile_network: whether ``torch.compile`` compiles the network for its training steps.
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: lr_scheduler.LRScheduler | None
    precision: Precision
    sparsity: GradualPruning | Masks | None
    loss: Callable[[nn.Module, Any, Tensor], Tensor]
    compile_network: bool = False

    def __post_init__(self) -> None:
        self._runs: Any = self.model
        self._compiler_errors: tuple[type[Exception], ...] = ()
        if self.compile_network:
            from torch._dynamo.exc import TorchDynamoException  # Takes seconds, and most do not compile.

            self._runs, self._compiler_errors = torch.compile(self.model), (TorchDynamoException,)

    def epoch(self, batches: Iterator[tuple[Any, Tensor]], number: int, steps: int, device: torch.device) -> float:
        """Train over ``batches`` once and return the mean loss.

        Args:
            batches: inputs and labels, on ``device``.
            number: of the epoch, from 1.
            steps: how many batches there are.
            device: where the network is.

        Raises:
            TrainingError: where a loss is NaN or infinite, or the network cannot be compiled.
            ModelError: where the network has fewer outputs than the data has classes.
        """
        self.model.train()
        losses = torch.zeros(steps, device=device)
        every = 1 if device.type == "cpu" else _STEPS_BETWEEN_LOOKS_ON_GPU
        for step, (inputs, labels) in enumerate(batches, start=1):
            self.optimizer.zero_grad(set_to_none=True)
            with self._errors_in_words():
                with self.precision.autocast():
                    loss = self.loss(self._runs, inputs, labels)
                losses[step - 1] = loss.detach()
                if step % every == 0 or step == steps:
                    check_losses(losses[:step], number, self.optimizer)
                self.precision.update(loss, self.optimizer)
            if self.scheduler is not None:
                self.scheduler.step()
            if self.sparsity is not None:
                try:
                    self.sparsity.after_step(self.model, (number - 1) * steps + step, step == steps, self.optimizer)
                except PruningError:
                    # On a GPU, weights that are no numbers may be met before the loss that made them is looked at.
                    check_losses(losses[:step], number, self.optimizer)
                    raise
        return float(losses.mean())

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except IndexError as error:
            if not str(error).startswith("Target"):
                raise
            raise ModelError(
                f"{type(self.model).__name__} has fewer outputs than there are classes in the data ({error}); "
                "build it with the number of classes of the data."
            ) from error
        except self._compiler_errors as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = " ".join(lines[:2]) or type(error).__name__
            raise TrainingError(
                f"torch.compile cannot compile {type(self.model).__name__} ({reason}). Set compile to false to train "
                "it as it is; on a CPU, compiling needs a C++ compiler such as g++."
            ) from error


def check_losses(losses: Tensor, epoch: int, optimizer: Optimizer) -> None:
    """Raise a ``TrainingError`` where a loss of an epoch, (steps,) so far, is NaN or infinite: the first such step."""
    # On the CPU each is looked at in turn, so that only the last is new.
    finite = torch.isfinite(losses[-1] if losses.device.type == "cpu" else losses)
    if not bool(finite.all()):
        step = int(torch.isfinite(losses).int().argmin())
        raise diverged(f"loss is {float(losses[step])}", f"epoch {epoch}, step {step + 1}", optimizer)


def diverged(found: str, where: str, optimizer: Optimizer) -> TrainingError:
    """Return the error for a loss that is no number."""
    rate = optimizer.param_groups[0].get("lr", "unknown")
    return TrainingError(
        f"The {found} at {where}; lower learning_rate ({rate:g} there), or look for NaN in the inputs and for "
        "labels that are out of range."
    )
