"""Dynamic int8 by replacing layer after layer; torch needs neither a trace nor marks for it."""

from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import intrinsic

from sparsebench.errors import QuantizationError
from sparsebench.quantization.base import quiet_libraries, reason

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


def quantize_dynamic_layers(net: nn.Module) -> nn.Module:
    """Replace every layer of ``DYNAMIC_LAYERS`` in ``net`` by its dynamic int8 form, in place; return ``net``.

    Raises:
        QuantizationError: where torch cannot convert a layer, such as a GRU without biases.
    """
    spec = dict.fromkeys(DYNAMIC_LAYERS, ao.default_dynamic_qconfig)
    try:
        with quiet_libraries():
            converted: nn.Module = ao.quantize_dynamic(net, spec, inplace=True)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise QuantizationError(
            f"torch.ao cannot quantize {type(net).__name__} dynamically: {reason(error)} Its LSTM and GRU layers and "
            "their cells must have biases; scheme 'static' leaves them in float."
        ) from error
    return converted
