"""Sessions of ONNX Runtime, and what its profiler tells of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsebench.backends.profiling import OperatorTime, Role, median_over
from sparsebench.quantization import failing_as, quiet_runtimes
from sparsebench.store.scratch import scratch

with quiet_runtimes():
    import onnx
    import onnxruntime

BATCH = "batch"
"""Name of the dimension that is the number of samples."""

_ERRORS_ONLY = 3
_REMEDY = "Choose another scheme or backend, or compress the network again where its file may be damaged."

_BLOCKED = "_nchwc"
"""Ends the names of operations in blocked layout, which ONNX Runtime calls after what they make."""

_CONVERTING = ("QuantizeLinear", "DequantizeLinear", "Cast", "Reorder", "Transpose")
_INT8 = ("QLinear", "Integer", "QGemm", "DynamicQuantize", "QAttention")
_FUSED = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Add", "BatchNormalization")
_MULTIPLYING = ("Conv", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention", "Einsum")


def session_options(threads: int, samples: int | None = None) -> onnxruntime.SessionOptions:
    """Return options for a session that optimises all it can."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if samples is not None:
        options.add_free_dimension_override_by_name(BATCH, samples)
    return options


def session(file: bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """Return a session on the CPU.

    Raises:
        QuantizationError: where ONNX Runtime cannot run the file.
    """
    with failing_as("ONNX Runtime cannot run this network", _REMEDY):
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def told_by_file(file: bytes, inputs: tuple[Tensor, ...]) -> list[dict[str, Any]]:
    """Return what ONNX Runtime tells of each operation of one pass of the graph as it is in the file, in order.

    Args:
        file: the ONNX file.
        inputs: positional arguments of one forward pass.

    Returns:
        One dictionary an operation, with its ``name`` and the ``args`` of ONNX Runtime's profile: ``op_name``,
        ``input_type_shape``, ….
    """
    options = session_options(threads=1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _told(options, file, [inputs])


def operator_times(
    file: bytes, options: onnxruntime.SessionOptions, inputs: tuple[Tensor, ...], calls: int
) -> tuple[OperatorTime, ...]:
    """Return where the time of one call goes; the layers have the names of the nodes of the file.

    Args:
        file: the ONNX file.
        options: of the session that runs it.
        inputs: positional arguments of one forward pass.
        calls: calls that count, after as many that do not.
    """
    told = _told(options, file, [inputs] * (2 * calls))
    each = len(told) // (2 * calls)
    rows = [((event["name"], event["args"]["op_name"]), float(event["dur"])) for event in told]
    found = median_over([rows[n * each : (n + 1) * each] for n in range(calls, 2 * calls)])
    layers = _layers_by_output(onnx.load_model_from_string(file).graph)
    return tuple(
        OperatorTime(
            layers.get(name.removesuffix(_BLOCKED), name),
            operator,
            microseconds,
            _format(operator),
            _role(operator),
            times,
        )
        for (name, operator), (microseconds, times) in found.items()
    )


def _told(options: onnxruntime.SessionOptions, file: bytes, feeds: Sequence[Any]) -> list[dict[str, Any]]:
    options.enable_profiling = True
    with scratch() as folder:
        options.profile_file_prefix = str(folder / "profile")
        running = session(file, options)
        names = [value.name for value in running.get_inputs()]
        with failing_as("ONNX Runtime cannot run this network", _REMEDY):
            for inputs in feeds:
                arrays = (value.detach().contiguous().numpy() for value in inputs)
                running.run(None, dict(zip(names, arrays, strict=True)))
        events = json.loads(Path(running.end_profiling()).read_text(encoding="utf-8"))
    suffix = "_kernel_time"
    return [
        {**event, "name": event["name"].removesuffix(suffix)}
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(suffix)
    ]


def _layers_by_output(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the names of layers by what they make, or what the operations fused into them do."""
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type.startswith(_MULTIPLYING):
            name = node.name
        else:
            name = next((found[one] for one in node.input if one in found), "") if node.op_type in _FUSED else ""
        found |= dict.fromkeys(node.output, name) if name else {}
    return found


def _role(operator: str) -> Role:
    if any(part in operator for part in _MULTIPLYING):
        return "layer"
    return "conversion" if any(part in operator for part in _CONVERTING) else "other"


def _format(operator: str) -> str:
    if _role(operator) != "layer":
        return ""
    return "int8" if operator.startswith(_INT8) or "Integer" in operator else "fp32"
