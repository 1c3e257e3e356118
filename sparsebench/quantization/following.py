"""Networks as graphs of torch.fx, also where they branch on shapes or iterate over them.

torch.fx records what a network does with inputs that have no values, so that it cannot tell which way a branch goes. A
``Follower`` computes each step for an example as well. Where the network asks for a number that depends on shapes
alone, it gets that of the example, and the graph gets a check that other inputs give the same. What depends on the
data is refused, as torch.fx refuses it.
"""

import builtins
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node, Proxy, Tracer
from torch.fx.node import has_side_effect, map_aggregate
from torch.fx.proxy import Attribute
from torch.nn.utils import rnn

from sparsebench.errors import DataError, QuantizationError
from sparsebench.quantization.attention import plain_attention
from sparsebench.tensors import batch_of, cloned, samples_in

_UNKNOWN = object()
_TRANSFORMERS = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
)
"""Modules of torch that are followed: their linear layers are what is quantized."""

_OF_WEIGHTS = ("device", "dtype", "ndim", "shape")

_KEPT_WHOLE = (rnn.pack_padded_sequence, rnn.pad_packed_sequence, rnn.pack_sequence, rnn.pad_sequence)


def followed(net: nn.Module, example: tuple[Any, ...]) -> tuple[GraphModule, dict[str, Any]]:
    """Return the graph of a network, whose layers are modules still, and the scope of each of its nodes.

    Args:
        net: a network in evaluation mode; its modules become those of the graph.
        example: positional arguments of one forward pass.

    Raises:
        torch.fx.proxy.TraceError: where the network branches on its data; other errors where torch.fx finds no way.
    """
    with plain_attention():
        try:
            follower = Follower(example, _TRANSFORMERS)
            graph = follower.trace(net)
        except Exception:
            follower = Follower(example)
            graph = follower.trace(net)
    for node in graph.nodes:
        # The code of a graph would have such functions wrapped for all traces to come, by names that it alone has.
        node.meta.pop("is_wrapped", None)
    made = GraphModule(net, graph, type(net).__name__)
    if follower.checks:
        _require_any_number(made, net, example)
    return made, follower.node_name_to_scope


def _require_any_number(graph: GraphModule, net: nn.Module, example: tuple[Any, ...]) -> None:
    """Refuse a network whose branches depend on the number of samples."""
    samples = samples_in(example) or 1
    try:
        other = batch_of(cloned(example), 1 if samples > 1 else 2)
    except DataError:
        return
    with torch.no_grad():
        try:
            graph(*other)
        except QuantizationError as error:
            raise QuantizationError(
                f"{type(net).__name__} branches on the number of samples in a batch, or counts on it, so that the "
                "graph of one batch is not that of another. Take it from the input's shape, as in x.flatten(1)."
            ) from error
        except Exception:  # noqa: S110 - with one sample a network may fail by itself
            pass


@has_side_effect  # so that no pass removes it
def same(found: Any, followed_for: Any) -> None:
    """Refuse inputs for which a number is another than in the example by which a graph was made.

    Raises:
        QuantizationError: where it is.
    """
    if found != followed_for:
        raise QuantizationError(
            f"The network branches on the shape of its inputs, and was followed where that gives {followed_for!r}; "
            f"here it gives {found!r}. Give it inputs of one shape, but for the number of samples."
        )


class Follower(Tracer):
    """A tracer of torch.fx that knows what each of its nodes is for an example.

    Args:
        example: positional arguments of one forward pass.
        opened: modules of torch that are followed, and not kept as one layer.
    """

    def __init__(self, example: tuple[Any, ...], opened: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__(autowrap_functions=_KEPT_WHOLE)
        self._autowrap_search.append(rnn)
        self._example, self._opened = list(cloned(example)), opened
        self._values: dict[Node, Any] = {}
        self._checked: set[Node] = set()
        self._left_out: dict[str, Any] = {}
        self._computes = False

    @property
    def checks(self) -> bool:
        """Whether something that other inputs may have otherwise was taken from the example."""
        return bool(self._checked)

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> Graph:
        """Return the graph of a network; what the example leaves out of its arguments has its default."""
        self._left_out = _left_out(root, len(self._example)) | (concrete_args or {})
        with _recorded_lengths():
            return super().trace(root, self._left_out or None)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 # the tracer's signature
        """Whether a module stays one layer of the graph, as torch.ao wants it."""
        return m.__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(
            m, (nn.Sequential, *self._opened)
        )

    def proxy(self, node: Node) -> Proxy:
        """Return what stands for a node while the network is followed."""
        return _Known(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any) -> Proxy:
        """Record a step, and compute it for the example."""
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **named)
        node = proxy.node
        self._computes = True
        try:
            self._values[node] = self._value(kind, target, node)
        finally:
            self._computes = False
        return proxy

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Record a layer, or follow a module; while the example is computed, compute."""
        return forward(*args, **kwargs) if self._computes else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Proxy]) -> Any:
        """Return what stands for a parameter; while the example is computed, the parameter."""
        return attr_val if self._computes else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: Proxy) -> bool:
        """Return which way a branch on shapes goes."""
        found = self.number(obj)
        return super().to_bool(obj) if found is _UNKNOWN else bool(found)

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """Iterate over what has a length that depends on shapes alone."""
        length, parts = self.length(obj), cast("Any", obj)
        return super().iter(obj) if length is None else iter([parts[place] for place in range(length)])

    def number(self, proxy: Proxy) -> Any:
        """Return what a node is for the example, and check that it is the same for others; ``_UNKNOWN`` for data."""
        value = self._values.get(proxy.node, _UNKNOWN)
        if value is _UNKNOWN or _holds_data(value):
            return _UNKNOWN
        self._check(proxy.node, value)
        return value

    def length(self, proxy: Proxy, check: bool = True) -> int | None:
        """Return how many parts a node has for the example, and check it for others; None where it has none."""
        value = self._values.get(proxy.node, _UNKNOWN)
        if not isinstance(value, tuple | list | Tensor) or (isinstance(value, Tensor) and not value.dim()):
            return None
        if check and isinstance(value, Tensor):  # How many parts a tuple has does not depend on the inputs.
            self._check(self.create_proxy("call_function", len, (proxy,), {}).node, len(value))
        return len(value)

    def of_weight(self, path: str, name: str) -> Any:
        """Return an attribute of a parameter or a buffer, which is not recorded."""
        before, self._computes = self._computes, True
        try:
            return getattr(self._held(path), name)
        finally:
            self._computes = before

    def _check(self, node: Node, value: Any) -> None:
        if node not in self._checked:
            self._checked.add(node)
            self.create_node("call_function", same, (node, self.create_arg(value)), {})

    def _value(self, kind: str, target: Any, node: Node) -> Any:
        if kind == "placeholder":
            return self._argument(str(target))
        if kind == "output":
            return None
        args, named = map_aggregate((node.args, dict(node.kwargs)), self._known)
        with torch.no_grad():
            if kind == "call_function":
                return target(*args, **named)
            if kind == "call_method":
                return getattr(args[0], target)(*args[1:], **named)
            held = self._held(str(target))
            return held(*args, **named) if kind == "call_module" else held

    def _argument(self, name: str) -> Any:
        if name.startswith("**"):
            return {}
        if name.startswith("*"):
            return tuple(self._example)
        return self._example.pop(0) if self._example else self._left_out.get(name.rpartition("_")[0])

    def _known(self, node: Any) -> Any:
        if not isinstance(node, Node):
            return node
        # Constants and buffers are recorded as they are met.
        return self._held(str(node.target)) if node.op == "get_attr" else self._values[node]

    def _held(self, path: str) -> Any:
        held: Any = self.root
        for name in path.split("."):
            held = getattr(held, name)
        return held


@contextmanager
def _recorded_lengths() -> Iterator[None]:
    """Let ``len`` be recorded for a while: it must return a number, and that of samples would be written down."""
    plain = builtins.len

    def length(value: Any) -> Any:
        if isinstance(value, _Known) and value.tracer.length(value, check=False) is not None:
            return value.tracer.create_proxy("call_function", plain, (value,), {})
        return plain(value)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = plain


class _Known(Proxy):
    """Stands for a node, and has a length and a number where these depend on shapes alone."""

    tracer: Follower

    def __getattr__(self, k: str) -> Any:
        # What a weight is does not depend on inputs, and an int8 layer has none to ask.
        if k in _OF_WEIGHTS and self.node.op == "get_attr":
            return self.tracer.of_weight(str(self.node.target), k)
        return _KnownAttribute(self, k)

    def __len__(self) -> int:
        length = self.tracer.length(self)
        return super().__len__() if length is None else length

    def __index__(self) -> int:
        found = self.tracer.number(self)
        if not isinstance(found, int):
            raise TypeError("a number that depends on the values of the inputs cannot be followed")
        return found

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.__index__())


class _KnownAttribute(Attribute, _Known):
    """An attribute of what stands for a node, such as its shape."""


def _holds_data(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds_data(part) for part in value)
    return not (value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device))


def _left_out(net: nn.Module, given: int) -> dict[str, Any]:
    """Return the defaults of the parameters that a call with so many arguments leaves out."""
    parameters = list(inspect.signature(net.forward).parameters.values())[given:]
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
