"""Weights of Linear layers in int8, one scale a row; multiplied in float. No calibration."""

from torch import nn

from sparsebench.quantization.base import failing_as, quiet_libraries
from sparsebench.quantization.floats import Float32


class WeightOnly(Float32):
    """Linear layers with int8 weights and float activations, by torchao; what is read shrinks, not what is computed."""

    name = "weight_only"

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network with every Linear's weight in int8; convolutions and recurrent layers stay as they are.

        Raises:
            QuantizationError: where torchao cannot quantize a layer.
        """
        problem = f"torchao cannot bring the weights of {type(prepared).__name__} into int8"
        with failing_as(problem, "Choose another scheme."), quiet_libraries():
            # It is an extra, and slow to import.
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            quantize_(prepared, Int8WeightOnlyConfig())
        return prepared
