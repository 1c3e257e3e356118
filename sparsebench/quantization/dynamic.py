"""Dynamic int8: weights in int8 ahead of time, activations quantized by the range of each batch. No calibration."""

from typing import Any

from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import intrinsic

from sparsebench.errors import QuantizationError
from sparsebench.quantization.base import float_copy, int8_engine, quiet_torch_ao, reason

DYNAMIC_LAYERS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    intrinsic.LinearReLU,
    nn.LSTM,
    nn.GRU,
    nn.LSTMCell,
    nn.GRUCell,
    nn.RNNCell,
)
"""The layers with dynamic int8 kernels in torch. Of exactly these types: a subclass may compute something else."""


class Dynamic:
    """Linear layers, LSTM, GRU and the recurrent cells in dynamic int8; convolutions stay in float."""

    name = "dynamic"
    calibrates = False

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:  # noqa: ARG002 # nothing is traced
        """Return a copy of ``net`` on the CPU, in evaluation mode."""
        int8_engine()
        return float_copy(net)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network with every layer of ``DYNAMIC_LAYERS`` replaced by its dynamic int8 form.

        Raises:
            QuantizationError: where torch cannot convert a layer.
        """
        return quantize_dynamic_layers(prepared)


def quantize_dynamic_layers(net: nn.Module) -> nn.Module:
    """Replace every layer of ``DYNAMIC_LAYERS`` in ``net`` by its dynamic int8 form, in place; return ``net``.

    Raises:
        QuantizationError: where torch cannot convert a layer, such as a GRU without biases.
    """
    spec = dict.fromkeys(DYNAMIC_LAYERS, ao.default_dynamic_qconfig)
    try:
        with quiet_torch_ao():
            converted: nn.Module = ao.quantize_dynamic(net, spec, inplace=True)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise QuantizationError(
            f"torch.ao cannot quantize {type(net).__name__} dynamically: {reason(error)} Its LSTM and GRU layers and "
            "their cells must have biases; scheme 'static' leaves them in float."
        ) from error
    return converted
