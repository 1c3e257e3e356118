"""Files of LiteRT as objects: read, named after torch's modules, opened for any number of samples, and written."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import nn

from sparsebench.quantization import failing_as, quiet_runtimes

with quiet_runtimes():
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

ANY, ONE = b"Takes any number of samples.", b"Takes one sample."
"""What the description of a file says."""

WEIGHT = "/weight"
"""Ends the name of a constant that holds the weights of a layer, before a number where it has several."""

OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
TYPES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}

LAYERS: Mapping[str, int] = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "CONV_3D": 1,
    "TRANSPOSE_CONV": 1,
    "FULLY_CONNECTED": 1,
    "BATCH_MATMUL": 1,
    "EMBEDDING_LOOKUP": 1,
    "GATHER": 0,
}
"""Operators with weights, with the input that holds them."""

_STEP = re.compile(r";\d+$")


def read(file: bytes) -> Any:
    """Return a file as an object.

    Raises:
        QuantizationError: where it is no file of LiteRT.
    """
    with failing_as("This is no file that LiteRT can read", "Compress the network again."):
        if file[4:8] != b"TFL3":
            raise ValueError("it does not begin as one.")
        return flatbuffer_utils.read_model_from_bytearray(bytearray(file))


def write(model: Any) -> bytes:
    """Return the file of a model: the same model gives the same bytes."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def graph_of(model: Any) -> Any:
    """Return the graph of a model, which has one."""
    return model.subgraphs[0]


def operator(model: Any, operation: Any) -> str:
    """Return what an operation is, such as ``CONV_2D``."""
    code = model.operatorCodes[operation.opcodeIndex]
    return str(OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), ""))


def values(model: Any, tensor: Any) -> np.ndarray[Any, Any] | None:
    """Return what a constant holds; None of an activation, and of what NumPy has no type for."""
    data, kind = model.buffers[tensor.buffer].data, TYPES.get(tensor.type, "").lower()
    if data is None or not len(data) or not hasattr(np, kind):
        return None
    shape = tuple(tensor.shape) if tensor.shape is not None else ()
    return np.frombuffer(bytes(data), dtype=kind).reshape(shape)


def named(file: bytes, net: nn.Module) -> bytes:
    """Return a float file whose operations and weights are called after the modules of the network.

    The converter calls them after classes and their attributes, at some length, which a microcontroller would have to
    store. ``features.0/CONV_2D`` is an operation of ``features.0``, ``features.0/weight`` what it holds.

    Args:
        file: what the converter wrote.
        net: the network that it was made of.
    """
    model = read(file)
    graph, paths, used = graph_of(model), _paths(net), Counter[str]()
    holding = {path for path, module in net.named_modules() if any(p.dim() > 1 for p in module.parameters(False))}
    names: dict[int, str] = {}
    for operation in graph.operators:
        kind = operator(model, operation)
        told = [graph.tensors[i].name.decode() for i in (*operation.inputs[1:], *operation.outputs) if i >= 0]
        found = [paths[scope] for name in told for scope in _scopes(name) if scope in paths]
        own = next((path for path in found if path in holding), "") if kind in LAYERS else ""
        path = own or (_last(found) if kind not in LAYERS else "")
        held = operation.inputs[LAYERS[kind]] if kind in LAYERS else -1
        if held >= 0 and held not in names and values(model, graph.tensors[held]) is not None:
            names[held] = _unique(f"{path or kind}{WEIGHT}", used)
        for output in operation.outputs:
            names[output] = _unique(f"{path}/{kind}" if path else kind, used)
    (signature,) = model.signatureDefs
    for value in signature.inputs:
        names[value.tensorIndex] = value.name.decode()
    for number, tensor in enumerate(graph.tensors):
        tensor.name = names.get(number, f"constant_{number}").encode()
    without_notes(model)
    model.description = ONE
    return write(model)


def without_notes(model: Any) -> None:
    """Take out of a model, in place, what is no part of its graph: metadata, and what only they refer to."""
    model.metadata, model.metadataBuffer = [], []
    tensors = graph_of(model).tensors
    used = sorted({0, *(tensor.buffer for tensor in tensors)})
    places = {old: new for new, old in enumerate(used)}
    model.buffers = [model.buffers[old] for old in used]
    for tensor in tensors:
        tensor.buffer = places[tensor.buffer]


def opened(file: bytes) -> Iterator[bytes]:
    """Yield a file made for one sample as it may take any number, in one way after the other.

    Whether it then computes the same is to be tried out: a first dimension of 1 need not be the samples.
    """
    for every in (False, True):
        model = read(file)
        for operation in graph_of(model).operators:
            _open(model, operation, every)
        model.description = ANY
        yield write(model)


def is_open(file: bytes) -> bool:
    """Whether a file takes any number of samples."""
    return bool(read(file).description == ANY)


def _open(model: Any, operation: Any, every: bool) -> None:
    """Let the first dimension of what an operation makes be as long as its input makes it."""
    graph, kind = graph_of(model), operator(model, operation)
    first = graph.tensors[operation.inputs[0]].shape if len(operation.inputs) else None
    if kind in ("RESHAPE", "SLICE") and first is not None and len(first):
        held = graph.tensors[operation.inputs[1 if kind == "RESHAPE" else 2]]
        sizes = values(model, held)
        if sizes is None or not sizes.size or (sizes < 0).any():
            return
        if (sizes[0] == 1 and first[0] == 1) or (every and kind == "RESHAPE" and 1 in (sizes[0], first[0])):
            changed = np.array([-1, *sizes[1:]], dtype=sizes.dtype)
            # Others may read the same constant for something else.
            held_again = _copied(model, held, changed)
            operation.inputs[1 if kind == "RESHAPE" else 2] = held_again
            if kind == "RESHAPE" and getattr(operation.builtinOptions, "newShape", None) is not None:
                operation.builtinOptions.newShape = changed.tolist()
    elif kind == "STRIDED_SLICE" and first is not None and len(first) and first[0] == 1:
        operation.builtinOptions.endMask |= 1


def _copied(model: Any, tensor: Any, content: np.ndarray[Any, Any]) -> int:
    """Add a constant of the same kind, and return its place."""
    graph = graph_of(model)
    buffer, made = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(content.tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    made.__dict__.update(tensor.__dict__)
    made.buffer, made.name = len(model.buffers) - 1, f"constant_{len(graph.tensors)}".encode()
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _scopes(name: str) -> list[str]:
    """Return the modules that the converter names a tensor after, without the network itself."""
    return [_STEP.sub("", one).partition("/")[2] for one in name.split(";;")]


def _paths(net: nn.Module) -> dict[str, str]:
    """Return the path of each module by what the converter calls it: classes with the names of attributes."""
    found: dict[str, str] = {}
    for path, _ in net.named_modules():
        scope, module = [], net
        for part in path.split(".") if path else ():
            module = module._modules[part]  # type: ignore[assignment] # it is there
            scope.append(f"{type(module).__module__}.{type(module).__qualname__}_{part}")
        found.setdefault("/".join(scope), path)
    return found


def _last(found: list[str]) -> str:
    return found[-1] if found else ""


def _unique(name: str, used: Counter[str]) -> str:
    used[name] += 1
    return name if used[name] == 1 else f"{name}_{used[name]}"
