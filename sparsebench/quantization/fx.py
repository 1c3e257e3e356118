"""Static int8 of networks that torch.fx can trace: it finds by itself what to fuse and where to quantize."""

from collections.abc import Callable
from typing import Any, cast

from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx
from torch.fx import GraphModule
from torch.nn import functional

from sparsebench.errors import QuantizationError
from sparsebench.quantization.base import TRANSPOSED_CONVOLUTIONS, int8_engine, quiet_libraries, reason

_TRANSPOSED_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def prepare(net: nn.Module, example: tuple[Any, ...], dynamic_layers: tuple[type[nn.Module], ...] = ()) -> GraphModule:
    """Trace ``net``, fold its batch norms and insert observers, with the engine's default settings.

    Args:
        net: a float network in evaluation mode; it is used up.
        example: positional arguments of one forward pass.
        dynamic_layers: types of layers to be quantized dynamically instead of statically.

    Returns:
        The prepared graph; calibrate it, then ``convert`` it.

    Raises:
        QuantizationError: where torch.fx cannot trace the network.
    """
    mapping = _without_transposed(ao.get_default_qconfig_mapping(int8_engine()))
    # Layers are named one by one: set_object_type(Linear) makes torch refuse every network in which a Linear
    # is followed by a ReLU, since the two are fused and the ReLU has another setting.
    for path, module in net.named_modules():
        if type(module) in dynamic_layers:
            mapping.set_module_name(path, ao.default_dynamic_qconfig)
    return _prepared(quantize_fx.prepare_fx, net, mapping, example)


def prepare_qat(net: nn.Module, example: tuple[Any, ...]) -> GraphModule:
    """Trace ``net`` and insert fake quantization, with the engine's default settings for training.

    Batch norms stay, fused with their convolutions in a form that is trained as it will be folded.

    Args:
        net: a float network in evaluation mode; it is used up.
        example: positional arguments of one forward pass.

    Returns:
        The prepared graph in training mode; train it, then ``convert`` it in evaluation mode.

    Raises:
        QuantizationError: where torch.fx cannot trace the network.
    """
    mapping = _without_transposed(ao.get_default_qat_qconfig_mapping(int8_engine()))
    # Traced in evaluation mode: a functional dropout would otherwise be written into the graph as switched on for good.
    prepared = _prepared(quantize_fx.prepare_qat_fx, net, mapping, example)
    return prepared.train()


def _without_transposed(mapping: ao.QConfigMapping) -> ao.QConfigMapping:
    kinds: list[Callable[..., Any]] = [*TRANSPOSED_CONVOLUTIONS, *_TRANSPOSED_FUNCTIONS]
    for kind in kinds:
        mapping.set_object_type(kind, None)
    return mapping


def _prepared(
    prepare: Callable[..., GraphModule], net: nn.Module, mapping: ao.QConfigMapping, example: tuple[Any, ...]
) -> GraphModule:
    try:
        with quiet_libraries():
            return prepare(net, mapping, example)
    except Exception as error:
        raise QuantizationError(
            f"torch.fx cannot trace {type(net).__name__} for static quantization: {reason(error)} Mark in the network "
            "itself what is to be quantized, with torch.ao.quantization.QuantStub and DeQuantStub and a fuse_model "
            "method, or use scheme 'dynamic', which traces nothing."
        ) from error


def convert(prepared: nn.Module) -> GraphModule:
    """Return the int8 network of a calibrated graph; ``prepared`` is used up.

    Raises:
        QuantizationError: where torch has no int8 form for what the graph does.
    """
    try:
        with quiet_libraries():
            return quantize_fx.convert_fx(cast("GraphModule", prepared))
    except Exception as error:
        raise QuantizationError(
            f"torch.ao cannot convert the calibrated network to int8: {reason(error)} Mark in the network itself what "
            "is to be quantized, with torch.ao.quantization.QuantStub and DeQuantStub, or use scheme 'dynamic'."
        ) from error
