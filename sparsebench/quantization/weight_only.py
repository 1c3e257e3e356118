"""Weights of Linear layers in int8, one scale a row; multiplied in float. No calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class WeightOnly:
    """Linear layers with int8 weights and float activations, by torchao; what is read shrinks, not what is computed."""

    name = "weight_only"
    calibrates = False

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:  # noqa: ARG002 # nothing is traced
        """Return a copy of ``net`` on the CPU, in evaluation mode."""
        from sparsebench.quantization.base import float_copy

        return float_copy(net)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network with every Linear's weight in int8; convolutions and recurrent layers stay as they are.

        Raises:
            QuantizationError: where torchao cannot quantize a layer.
        """
        from sparsebench.errors import QuantizationError
        from sparsebench.quantization.base import quiet_libraries, reason

        try:
            with quiet_libraries():
                from torchao.quantization import Int8WeightOnlyConfig, quantize_

                quantize_(prepared, Int8WeightOnlyConfig())
        except Exception as error:
            raise QuantizationError(
                f"torchao cannot bring the weights of {type(prepared).__name__} into int8: {reason(error)} Choose "
                "another scheme."
            ) from error
        return prepared
