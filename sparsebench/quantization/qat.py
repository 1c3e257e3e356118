"""Quantization-aware training: the network trains further with its weights and activations rounded as in int8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class QAT:
    """Static int8 after some more epochs with fake quantization; zeros stay, recurrent layers stay in float.

    A network with QuantStub modules is quantized the way its author laid out, any other by tracing it with torch.fx.
    """

    name = "qat"
    calibrates = False
    trains = True

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` with fake quantization, in training mode.

        Raises:
            QuantizationError: where torch.fx cannot trace the network; the text carries its reason and the remedy.
        """
        from sparsebench.quantization import fx, stubs
        from sparsebench.quantization.base import float_copy

        copied = float_copy(net)
        if stubs.has_stubs(copied):
            return stubs.prepare(copied, stubs.RECURRENT_LAYERS, qat=True)
        return fx.prepare_qat(copied, example)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the static int8 network.

        Raises:
            QuantizationError: where ``prepared`` was not trained, or torch cannot convert it.
        """
        from sparsebench.quantization import fx, stubs
        from sparsebench.quantization.calibration import require_calibrated

        require_calibrated(prepared)
        prepared.eval()
        if stubs.has_stubs(prepared):
            return stubs.dequantize_before_float(stubs.convert(prepared))
        return fx.convert(prepared)
