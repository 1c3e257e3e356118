"""Static int8: weights and activations in int8, the ranges of the activations learned from calibration batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Static:
    """Convolutions and Linear layers in static int8; recurrent layers stay in float, torch has no static form of them.

    A network with QuantStub modules is quantized the way its author laid out, any other by tracing it with torch.fx.
    """

    name = "static"
    calibrates = True

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` with batch norms folded and observers inserted.

        Raises:
            QuantizationError: where torch.fx cannot trace the network; the text carries its reason and the remedy.
        """
        from sparsebench.quantization import fx, stubs
        from sparsebench.quantization.base import float_copy

        copied = float_copy(net)
        if stubs.has_stubs(copied):
            return stubs.prepare(copied, stubs.RECURRENT_LAYERS)
        return fx.prepare(copied, example)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the static int8 network.

        Raises:
            QuantizationError: where no batch passed through ``prepared``, or torch cannot convert it.
        """
        from sparsebench.quantization import fx, stubs
        from sparsebench.quantization.calibration import require_calibrated

        require_calibrated(prepared)
        if stubs.has_stubs(prepared):
            return stubs.dequantize_before_float(stubs.convert(prepared))
        return fx.convert(prepared)
