"""float16: half the width of fp32, more precision than bf16 and far less range. No calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Float16:
    """Weights and activations in float16, which GPUs and a few CPUs multiply natively."""

    name = "fp16"
    calibrates = False

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` on the CPU that computes in float16, in evaluation mode.

        Raises:
            QuantizationError: where the network does not run in it.
        """
        import torch

        from sparsebench.quantization.half_precision import in_precision

        return in_precision(net, torch.float16, example)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return ``prepared`` itself."""
        return prepared
