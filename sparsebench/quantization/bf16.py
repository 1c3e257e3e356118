"""bfloat16: half the width of fp32 and its range, three digits of precision. No calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class BFloat16:
    """Weights and activations in bfloat16, which CPUs with AMX or AVX512-BF16 and most GPUs multiply natively."""

    name = "bf16"
    calibrates = False

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` on the CPU that computes in bfloat16, in evaluation mode.

        Raises:
            QuantizationError: where the network does not run in it.
        """
        import torch

        from sparsebench.quantization.half_precision import in_precision

        return in_precision(net, torch.bfloat16, example)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return ``prepared`` itself."""
        return prepared
