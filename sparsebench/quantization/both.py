"""Both kinds of int8 in one network: convolutions static; Linear layers, LSTM and GRU dynamic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Both:
    """Static where torch has static kernels only, dynamic where it has dynamic ones: the widest cover there is."""

    name = "both"
    calibrates = True

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` with observers in all but its dynamic layers.

        Raises:
            QuantizationError: where torch.fx cannot trace the network; the text carries its reason and the remedy.
        """
        from sparsebench.quantization import fx, stubs
        from sparsebench.quantization.base import float_copy
        from sparsebench.quantization.swap import DYNAMIC_LAYERS

        copied = float_copy(net)
        if stubs.has_stubs(copied):
            return stubs.prepare(copied, DYNAMIC_LAYERS)
        return fx.prepare(copied, example, DYNAMIC_LAYERS)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the int8 network.

        Raises:
            QuantizationError: where no batch passed through ``prepared``, or torch cannot convert it.
        """
        from sparsebench.quantization import fx, stubs
        from sparsebench.quantization.calibration import require_calibrated
        from sparsebench.quantization.swap import quantize_dynamic_layers

        require_calibrated(prepared)
        if stubs.has_stubs(prepared):
            return stubs.dequantize_before_float(quantize_dynamic_layers(stubs.convert(prepared)))
        return fx.convert(prepared)
