"""Networks turned into int8 by torch.ao, which torch will drop: int8 by layers, by torch.fx, and by an author's marks.

Dynamic int8 replaces layer after layer, without a trace. Static int8 follows the QuantStub and DeQuantStub of a network
whose author marked what is to be quantized; any other is traced by torch.fx, which finds by itself where to.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.nn import intrinsic, quantized
from torch.ao.nn.quantized.dynamic.modules.rnn import RNNBase, RNNCellBase
from torch.ao.quantization import quantize_fx
from torch.ao.quantization.fx.fuse import fuse
from torch.ao.quantization.fx.prepare import prepare
from torch.fx import GraphModule
from torch.nn import functional

from sparsebench.errors import QuantizationError
from sparsebench.quantization.attention import layer_by_layer, plain_attention
from sparsebench.quantization.base import TRANSPOSED_CONVOLUTIONS, failing_as, int8_engine, quiet_libraries
from sparsebench.quantization.following import followed
from sparsebench.quantization.observing import without_infinite, without_unfit
from sparsebench.quantization.plain_calls import plainly_called
from sparsebench.quantization.torch_ao.graphs import (
    as_float,
    inside_layers,
    reshaping,
    with_dropout_kept,
    with_own_statistics,
    with_traceable_functions,
)
from sparsebench.tensors import cloned, mapped

Layers = tuple[type[nn.Module], ...]

DYNAMIC_LAYERS: Layers = (
    nn.Linear,
    intrinsic.LinearReLU,
    nn.LSTM,
    nn.GRU,
    nn.LSTMCell,
    nn.GRUCell,
    nn.RNNCell,
)
"""The layers with dynamic int8 kernels in torch. Of exactly these types: a subclass may compute something else."""

RECURRENT_LAYERS: Layers = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)

OBSERVERS: Layers = (ao.ObserverBase, ao.FakeQuantizeBase)

_TAKE_FLOAT = (nn.RNNBase, nn.RNNCellBase, RNNBase, RNNCellBase, quantized.dynamic.Linear)

_TRANSPOSED: tuple[Callable[..., Any], ...] = (
    *TRANSPOSED_CONVOLUTIONS,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def int8_weights(module: nn.Module) -> list[Tensor]:
    """Return the weights of a layer that torch.ao quantized; none for any other module."""
    if isinstance(module, RNNBase | RNNCellBase):
        return list(module.get_weight().values())  # type: ignore[no-untyped-call]
    if isinstance(module, quantized.modules.utils.WeightedQuantizedModule | quantized.Embedding):
        return [module.weight()]  # type: ignore[operator]
    return []


def keep_uncalled(net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
    """Keep the layers in float that are not called, in place, for their weights are taken from them; return ``net``.

    Swin transformers, for example, hand the weights of their linear layers to a function, and an int8 layer has none.
    """
    layers, called = [module for module in net.modules() if type(module) in DYNAMIC_LAYERS], set[nn.Module]()
    hooks = [layer.register_forward_pre_hook(lambda one, _: called.add(one)) for layer in layers]
    try:
        with torch.no_grad(), plain_attention():
            net(*cloned(example))
    except Exception:  # Whoever runs it is told.
        return net
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        if layer not in called:
            layer.qconfig = None  # type: ignore[assignment] # torch.ao reads it as a plain attribute
    return net


def quantize_dynamic_layers(net: nn.Module) -> nn.Module:
    """Replace every layer of ``DYNAMIC_LAYERS`` in ``net`` by its dynamic int8 form, in place; return ``net``.

    Raises:
        QuantizationError: where torch cannot convert a layer, such as a GRU without biases.
    """
    spec = dict.fromkeys(DYNAMIC_LAYERS, ao.default_dynamic_qconfig)
    problem = f"torch.ao cannot quantize {type(net).__name__} dynamically"
    remedy = "Its LSTM and GRU layers and their cells must have biases; scheme 'static' leaves them in float."
    with failing_as(problem, remedy), quiet_libraries():
        return layer_by_layer(ao.quantize_dynamic(net, spec, inplace=True))  # type: ignore[no-untyped-call]


def prepare_traced(net: nn.Module, example: tuple[Any, ...], dynamic_layers: Layers, trains: bool) -> GraphModule:
    """Trace ``net``, and insert observers or fake quantization with the engine's default settings.

    Nothing is observed that eight bits cannot hold; see ``observing``.

    Args:
        net: a float network in evaluation mode; it is used up.
        example: positional arguments of one forward pass.
        dynamic_layers: types of layers to be quantized dynamically instead of statically.
        trains: whether fake quantization is inserted, to be trained. Batch norms stay then, fused with their
            convolutions in a form that is trained as it will be folded; otherwise they are folded.

    Returns:
        The prepared graph, in training mode where it is to be trained.

    Raises:
        QuantizationError: where torch.fx cannot trace the network.
    """
    mapping = _default_settings(trains)
    for kind in _TRANSPOSED:
        mapping.set_object_type(kind, None)
    # Layers are named one by one: set_object_type(Linear) makes torch refuse every network in which a Linear
    # is followed by a ReLU, since the two are fused and the ReLU has another setting.
    for path, module in net.named_modules():
        if type(module) in dynamic_layers:
            mapping.set_module_name(path, ao.default_dynamic_qconfig)
    problem = f"torch.fx cannot trace {type(net).__name__} for static quantization"
    with failing_as(problem), quiet_libraries(), plain_attention():
        # In evaluation mode: a functional dropout would otherwise be written into the graph as switched on for good.
        # These are the steps of prepare_fx, which traces by itself and stops at any branch.
        followable = plainly_called(with_traceable_functions(with_own_statistics(net)), example)
        graph, scopes = followed(followable, example)
        for path in inside_layers(graph):
            mapping.set_module_name(path, None)
        fused = fuse(with_dropout_kept(graph), trains)
        prepared: GraphModule = prepare(fused, mapping, trains, scopes, example_inputs=example)
        prepared.apply(ao.disable_observer).apply(ao.disable_fake_quant)
        without_unfit(prepared, example, is_observer)
        return prepared.apply(ao.enable_observer).apply(ao.enable_fake_quant).train(trains)


def convert_traced(prepared: nn.Module) -> GraphModule:
    """Return the int8 network of a calibrated graph; ``prepared`` is used up.

    Raises:
        QuantizationError: where torch has no int8 form for what the graph does.
    """
    graph = cast("GraphModule", prepared)
    with failing_as("torch.ao cannot convert the calibrated network to int8"), quiet_libraries():
        without_infinite(graph)
        kept = dict(graph.meta)
        converted = reshaping(quantize_fx.convert_fx(graph))
        converted.meta.update({name: value for name, value in kept.items() if not name.startswith("_")})
        return as_float(converted)


def is_observer(module: nn.Module) -> bool:
    """Whether a module observes ranges, or rounds by them."""
    return isinstance(module, OBSERVERS)


def has_stubs(net: nn.Module) -> bool:
    """Whether the author of ``net`` marked what is to be quantized."""
    return any(isinstance(module, ao.QuantStub) for module in net.modules())


def prepare_marked(net: nn.Module, leave: Layers, trains: bool) -> nn.Module:
    """Call the network's own ``fuse_model`` where it has one, then insert observers or fake quantization; in place.

    A ``qconfig`` that the author set on a module is kept; the engine's default holds for the rest.

    Args:
        net: a float network in evaluation mode with QuantStub modules.
        leave: types of layers that are not quantized statically.
        trains: whether fake quantization is inserted, to be trained. Batch norms are folded before, as for observers:
            ``fuse_model`` of most networks knows that form only.

    Returns:
        ``net`` itself, in training mode where it is to be trained.

    Raises:
        QuantizationError: where ``fuse_model`` or torch raises, or a transposed convolution is marked.
    """
    settings = _default_settings(trains)
    problem = f"{type(net).__name__} cannot be prepared for static quantization by its own QuantStub and fuse_model"
    remedy = "Repair fuse_model, or remove the stubs and let torch.fx trace the network."
    with failing_as(problem, remedy), quiet_libraries():
        _fuse(net)
        _configure(net, settings.global_qconfig, leave)
        _refuse_transposed(net, "", None)
        insert = ao.prepare_qat if trains else ao.prepare
        return cast("nn.Module", insert(net.train(trains), inplace=True))


def convert_marked(prepared: nn.Module) -> nn.Module:
    """Replace every calibrated layer by its int8 form, in place; return the network.

    Raises:
        QuantizationError: where torch has no int8 form for a layer.
    """
    remedy = (
        "Set 'qconfig = None' on the module that has no int8 form and put it between a DeQuantStub and a QuantStub."
    )
    with failing_as(f"torch.ao cannot convert {type(prepared).__name__} to int8", remedy), quiet_libraries():
        return cast("nn.Module", ao.convert(prepared, inplace=True))  # type: ignore[no-untyped-call]


def dequantize_before_float(net: nn.Module) -> nn.Module:
    """Let the layers that compute on float inputs accept quantized ones, in place; return ``net``.

    An author marks a network for static quantization as a whole. Where a scheme keeps a layer inside the marked part
    in float, or quantizes it dynamically, its input arrives quantized and has to be turned back.
    """
    for module in net.modules():
        if isinstance(module, _TAKE_FLOAT):
            module.register_forward_pre_hook(_dequantize)
    return net


def _default_settings(trains: bool) -> ao.QConfigMapping:
    if not trains:
        return ao.get_default_qconfig_mapping(int8_engine())
    settings = ao.get_default_qat_qconfig_mapping(int8_engine())
    for kind in (nn.Embedding, nn.EmbeddingBag):
        # The default observes weights in a way that torch refuses for these.
        settings.set_object_type(kind, None)
    return settings


def _dequantize(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    def dequantized(held: Any) -> Any:
        return held.dequantize() if isinstance(held, Tensor) and held.is_quantized else held

    return cast("tuple[Any, ...]", mapped(inputs, dequantized))


def _fuse(module: nn.Module) -> None:
    """Call the outermost ``fuse_model`` methods; each is expected to care for what lies below it."""
    fuse = getattr(module, "fuse_model", None)
    if callable(fuse):
        fuse()
    else:
        for child in module.children():
            _fuse(child)


def _configure(net: nn.Module, qconfig: Any, leave: Layers) -> None:
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
