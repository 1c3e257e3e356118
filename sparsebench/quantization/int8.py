"""Schemes of int8 weights and activations, by torch.ao."""

from typing import Any

from torch import nn

from sparsebench.quantization.base import float_copy, int8_engine
from sparsebench.quantization.calibration import require_calibrated
from sparsebench.quantization.torch_ao import layers as torch_ao


class Dynamic:
    """Linear layers, LSTM, GRU and the recurrent cells in dynamic int8; convolutions stay in float.

    Weights are int8 ahead of time, activations are quantized by the range of each batch. Nothing is calibrated.
    """

    name = "dynamic"

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` on the CPU, in evaluation mode; layers whose weights others take are to stay."""
        int8_engine()
        return torch_ao.keep_uncalled(float_copy(net), example)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network with every layer of ``torch_ao.DYNAMIC_LAYERS`` in its dynamic int8 form."""
        return torch_ao.quantize_dynamic_layers(prepared)


class Static:
    """Convolutions and Linear layers in static int8; recurrent layers stay in float, torch has no static form of them.

    The ranges of the activations are learned from calibration batches. A network with QuantStub modules is quantized
    the way its author laid out, any other by tracing it with torch.fx.
    """

    name = "static"
    trains = False
    dynamic_layers: tuple[type[nn.Module], ...] = ()

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` with batch norms folded and observers inserted; to be trained, fake quantization."""
        copied = float_copy(net)
        if torch_ao.has_stubs(copied):
            return torch_ao.prepare_marked(copied, self.dynamic_layers or torch_ao.RECURRENT_LAYERS, self.trains)
        return torch_ao.prepare_traced(copied, example, self.dynamic_layers, self.trains)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the int8 network."""
        require_calibrated(prepared)
        prepared.eval()
        if not torch_ao.has_stubs(prepared):
            return torch_ao.convert_traced(prepared)
        converted = torch_ao.convert_marked(prepared)
        if self.dynamic_layers:
            converted = torch_ao.quantize_dynamic_layers(converted)
        return torch_ao.dequantize_before_float(converted)


class Both(Static):
    """Static where torch has static kernels only, dynamic where it has dynamic ones: the widest cover there is."""

    name = "both"
    dynamic_layers = torch_ao.DYNAMIC_LAYERS


class QAT(Static):
    """Static int8 after some more epochs with fake quantization; zeros stay, recurrent layers stay in float.

    It is prepared and converted as ``static`` is; between the two, the network trains further with its weights and
    activations rounded as in int8.
    """

    name = "qat"
    trains = True
