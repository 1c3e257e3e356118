"""ONNX files, run by ONNX Runtime on the CPU.

What is handed on is the model alone, with its weights in it, made anew (``backends.onnxruntime.checking``).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import onnxruntime

from sparsebench.backends.onnxruntime.checking import checked
from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.reading import content_beside, content_of


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes; a size with a name is an open one. Nothing is loaded for it."""
    graph = _model(path).graph
    own = {tensor.name for tensor in graph.initializer}
    return tuple(_input(one) for one in graph.input if one.name not in own)


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:
    """Return a call of the network."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that go on spinning after a call would take time from whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    content = _model(path).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {feed.name: feed.values() for feed in feeds})


def _input(one: onnx.ValueInfoProto) -> Input:
    kind = one.type.WhichOneof("value")
    numbers = kind == "tensor_type" and one.type.tensor_type.elem_type
    if not numbers or numbers == onnx.TensorProto.STRING:
        what = "tensor of text" if numbers else str(kind).removesuffix("_type")
        raise SparsebenchError(f"input {one.name!r} is a {what}; only tensors of numbers can be made up.")
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(numbers))
    sizes = one.type.tensor_type.shape.dim
    return Input(one.name, dtype, tuple(size.dim_value if size.dim_value > 0 else None for size in sizes))


def _model(path: Path) -> onnx.ModelProto:
    return checked(content_of(path), partial(content_beside, path))
