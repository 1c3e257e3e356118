"""Dynamic int8: weights in int8 ahead of time, activations quantized by the range of each batch. No calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Dynamic:
    """Linear layers, LSTM, GRU and the recurrent cells in dynamic int8; convolutions stay in float."""

    name = "dynamic"
    calibrates = False

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:  # noqa: ARG002 # nothing is traced
        """Return a copy of ``net`` on the CPU, in evaluation mode."""
        from sparsebench.quantization.base import float_copy, int8_engine

        int8_engine()
        return float_copy(net)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network with every layer of ``swap.DYNAMIC_LAYERS`` replaced by its dynamic int8 form.

        Raises:
            QuantizationError: where torch cannot convert a layer, such as a GRU without biases.
        """
        from sparsebench.quantization.swap import quantize_dynamic_layers

        return quantize_dynamic_layers(prepared)
