"""Static int8 of networks whose author marked with QuantStub and DeQuantStub what is to be quantized."""

from typing import Any

from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import dynamic as quantized_dynamic
from torch.ao.nn.quantized.dynamic.modules.rnn import RNNBase, RNNCellBase

from sparsebench.errors import QuantizationError
from sparsebench.quantization.base import TRANSPOSED_CONVOLUTIONS, int8_engine, quiet_libraries, reason

RECURRENT_LAYERS: tuple[type[nn.Module], ...] = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)

_TAKE_FLOAT = (
    nn.RNNBase,
    nn.RNNCellBase,
    RNNBase,
    RNNCellBase,
    quantized_dynamic.Linear,
)


def has_stubs(net: nn.Module) -> bool:
    """Whether the author of ``net`` marked what is to be quantized."""
    return any(isinstance(module, ao.QuantStub) for module in net.modules())


def prepare(net: nn.Module, leave: tuple[type[nn.Module], ...], qat: bool = False) -> nn.Module:
    """Call the network's own ``fuse_model`` where it has one, then insert observers or fake quantization; in place.

    A ``qconfig`` that the author set on a module is kept; the engine's default holds for the rest.

    Args:
        net: a float network in evaluation mode with QuantStub modules.
        leave: types of layers that are not quantized statically.
        qat: whether fake quantization is inserted, to be trained. Batch norms are folded before, as for observers:
            ``fuse_model`` of most networks knows that form only.

    Returns:
        ``net`` itself, for ``qat`` in training mode.

    Raises:
        QuantizationError: where ``fuse_model`` or torch raises, or a transposed convolution is marked.
    """
    engine = int8_engine()
    name = type(net).__name__
    try:
        with quiet_libraries():
            _fuse(net)
            mapping = ao.get_default_qat_qconfig_mapping if qat else ao.get_default_qconfig_mapping
            _configure(net, mapping(engine).global_qconfig, leave)
            _refuse_transposed(net, "", None)
            insert = ao.prepare_qat if qat else ao.prepare
            prepared: nn.Module = insert(net.train(qat), inplace=True)
    except QuantizationError:
        raise
    except Exception as error:
        raise QuantizationError(
            f"{name} cannot be prepared for static quantization by its own QuantStub and fuse_model: {reason(error)} "
            "Repair fuse_model, or remove the stubs and let torch.fx trace the network."
        ) from error
    return prepared


def convert(prepared: nn.Module) -> nn.Module:
    """Replace every calibrated layer by its int8 form, in place; return the network.

    Raises:
        QuantizationError: where torch has no int8 form for a layer.
    """
    try:
        with quiet_libraries():
            converted: nn.Module = ao.convert(prepared, inplace=True)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise QuantizationError(
            f"torch.ao cannot convert {type(prepared).__name__} to int8: {reason(error)} Set 'qconfig = None' on the "
            "module that has no int8 form and put it between a DeQuantStub and a QuantStub."
        ) from error
    return converted


def dequantize_before_float(net: nn.Module) -> nn.Module:
    """Let the layers that compute on float inputs accept quantized ones, in place; return ``net``.

    An author marks a network for static quantization as a whole. Where a scheme keeps a layer inside the marked part
    in float, or quantizes it dynamically, its input arrives quantized and has to be turned back.
    """
    for module in net.modules():
        if isinstance(module, _TAKE_FLOAT):
            module.register_forward_pre_hook(_dequantize)
    return net


def _dequantize(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.dequantize() if isinstance(x, Tensor) and x.is_quantized else x for x in inputs)


def _fuse(module: nn.Module) -> None:
    """Call the outermost ``fuse_model`` methods; each is expected to care for what lies below it."""
    fuse = getattr(module, "fuse_model", None)
    if callable(fuse):
        fuse()
        return
    for child in module.children():
        _fuse(child)


def _configure(net: nn.Module, qconfig: Any, leave: tuple[type[nn.Module], ...]) -> None:
    """Set ``qconfig`` where the author set none; torch hands it down to what lies below."""
    for module in net.modules():
        if type(module) in leave and not hasattr(module, "qconfig"):
            module.qconfig = None  # type: ignore[assignment] # torch.ao reads it as a plain attribute
    if not hasattr(net, "qconfig"):
        net.qconfig = qconfig


def _refuse_transposed(module: nn.Module, name: str, inherited: Any) -> None:
    qconfig = getattr(module, "qconfig", inherited)
    if isinstance(module, TRANSPOSED_CONVOLUTIONS) and qconfig is not None:
        raise QuantizationError(
            f"{name} is a {type(module).__name__} marked for int8, but torch's int8 kernels of it compute wrong values "
            f"on x86. Set 'qconfig = None' on {name} and put it between a DeQuantStub and a QuantStub."
        )
    for key, child in module.named_children():
        _refuse_transposed(child, f"{name}.{key}" if name else key, qconfig)
