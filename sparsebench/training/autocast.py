"""The precision in which a training step computes, and the step itself."""

import platform
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.errors import TrainingError
from sparsebench.registry import unknown_name

_AUTOCAST = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        problem = amp_problem(amp, device)
        if problem:
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
        self._dtype = _AUTOCAST[amp]
        self._clip_norm = clip_norm
        # fp16 gradients below 6e-8 would vanish (Micikevicius et al., Mixed Precision Training, 2018).
        self.scaler = torch.amp.GradScaler(device.type) if amp == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass and its loss."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, self._dtype)

    def update(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Differentiate ``loss`` and let ``optimizer`` make one step."""
        scaler = self.scaler
        (scaler.scale(loss) if scaler else loss).backward()  # type: ignore[no-untyped-call]
        if self._clip_norm is not None:
            if scaler:
                scaler.unscale_(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()


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
