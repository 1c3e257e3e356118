"""Torch networks as ONNX files, and such files as modules of torch, run by ONNX Runtime."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.backends.flat import by_argument
from sparsebench.backends.onnxruntime.sessions import BATCH, operator_times, session, session_options
from sparsebench.backends.outside_torch import ExportedNetwork, LastMade, other_batch
from sparsebench.backends.profiling import OperatorTime
from sparsebench.errors import QuantizationError, reason
from sparsebench.quantization import failing_as, float_copy, plain_attention, quiet_runtimes
from sparsebench.tensors import flattened

with quiet_runtimes():
    import onnx
    from onnxscript import optimizer

MAX_BYTES = 2**31 - 1
"""Largest ONNX file: that of its container, protobuf."""

_NO_LIMIT = 2**62
_SCOPES = "pkg.torch.onnx.name_scopes"
_last = LastMade()


def export_onnx(net: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """Return a float network as the bytes of one ONNX file, weights included.

    The first dimension of all arguments is the number of samples, ``batch``, and stays open. Nodes are called after
    torch's modules: ``features.0/Conv``. The same network gives the same bytes in every process. What was exported last
    is kept (``LastMade``).

    Args:
        net: the network; it is left as it is.
        example: positional arguments of one forward pass.

    Raises:
        QuantizationError: where torch cannot export the network; the text carries its reason.
    """
    copy = float_copy(net)
    return _last.made_of(copy, example, lambda: _export(copy, example))


def _export(net: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    # A dimension of 1 would be taken for one that is always 1.
    inputs = example if len(example[0]) > 1 else other_batch(example)
    dynamic = by_argument(net, tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs))
    remedy = "Where it branches on its data, write the branch with torch.where; otherwise replace what is named."
    refused = failing_as(f"torch cannot export {type(net).__name__} to ONNX", remedy, _root_reason)
    with refused, quiet_runtimes(), torch.no_grad(), plain_attention():
        program = torch.onnx.export(net, inputs, dynamo=True, dynamic_shapes=dynamic, verbose=False)
        if program is None:
            raise QuantizationError(f"torch did not export {type(net).__name__} to ONNX.")
        # Weights that torch reorders for ONNX, such as those of a GRU, are reordered here and not in each run.
        optimizer.fold_constants(program.model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT)
        optimizer.remove_unused_nodes(program.model)
        model = program.model_proto
    _name_batch(model)
    _name_nodes(model, {name for name, _ in net.named_parameters()})
    _strip(model)
    if model.ByteSize() > MAX_BYTES:
        raise QuantizationError(
            f"{type(net).__name__} is too large for one ONNX file: {model.ByteSize()} bytes, at most {MAX_BYTES} are "
            "possible. Use another backend."
        )
    return bytes(model.SerializeToString(deterministic=True))


def _root_reason(error: BaseException) -> str:
    """Return what went wrong first: the exporter wraps it in advice to its own developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason(error) if isinstance(error, Exception) else str(error)


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the open dimension ``batch``; torch numbers its symbols by process."""
    symbols = {value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input} - {""}
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, symbols))})\b") if symbols else None
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if pattern and dimension.dim_param:
                dimension.dim_param = pattern.sub(BATCH, dimension.dim_param)


def _name_nodes(model: onnx.ModelProto, parameters: set[str]) -> None:
    used: Counter[str] = Counter()
    for node in _nodes(model.graph):
        # Of a parameter its module, or the parameter itself where it is the network's own.
        modules = (name.rpartition(".")[0] or name for name in node.input if name in parameters)
        name = f"{next(modules, None) or _scope(node)}/{node.op_type}"
        used[name] += 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"


def _scope(node: onnx.NodeProto) -> str:
    """Return the path of the module that a node comes from; empty for the network itself, or where it is not told."""
    told = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    scopes = re.findall(r"'([^']*)'", told)
    # The last is the operation. What was made while shapes were checked has no module.
    return scopes[-2] if len(scopes) > 1 and not scopes[0].startswith("_") else ""


def _strip(model: onnx.ModelProto) -> None:
    """Remove what says where and by whom the network was written, stack traces with paths, and what is said twice."""
    tensors = {tensor.name for tensor in model.graph.initializer}
    # The shapes of weights stand with the weights; twice, they contradict each other once a quantizer transposes one.
    told = [value for value in model.graph.value_info if value.name not in tensors]
    del model.graph.value_info[:]
    model.graph.value_info.extend(told)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    values: list[Any] = [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]
    for entry in (*_nodes(model.graph), *values, *model.functions):
        del entry.metadata_props[:]
        entry.doc_string = ""


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


class ONNXNetwork(ExportedNetwork):
    """Runs an ONNX file on the CPU.

    Inputs are read where torch holds them, and outputs are handed over as ONNX Runtime allocated them. Threads spin
    for a moment after each call, which is ONNX Runtime's default and a deployer's.

    Args:
        file: the ONNX file.
        threads: threads inside one operation.
        samples: the only number of samples that inputs will have; None leaves it open.
    """

    runtime = "ONNX Runtime"
    unloaded = ("_session", "_names")

    def __init__(self, file: bytes, threads: int, samples: int | None = None) -> None:
        super().__init__()
        self.file, self.threads, self.samples = file, threads, samples
        self.load()

    def load(self) -> None:
        """Make a session, which optimises the graph."""
        self._session = session(self.file, session_options(self.threads, self.samples))
        self._names = [value.name for value in self._session.get_inputs()]

    def require_inputs(self, example: tuple[Tensor, ...]) -> None:
        """Check that the network takes such inputs.

        Raises:
            QuantizationError: where it does not.
        """
        wanted = [tuple(value.shape) for value in self._session.get_inputs()]
        if [shape[1:] for shape in wanted] != [value.shape[1:] for value in example]:
            raise self.refused_of(wanted, example)

    def forward(self, *arguments: Any) -> Tensor | tuple[Tensor, ...]:
        """Return what the network computes for tensors (N, …), also such in tuples, lists and mappings.

        Raises:
            QuantizationError: where ONNX Runtime does not take the inputs.
        """
        inputs = flattened(arguments)
        try:
            feed = {name: value.detach().contiguous().numpy() for name, value in zip(self._names, inputs, strict=True)}
            outputs = tuple(torch.from_numpy(array) for array in self._session.run(None, feed))
        except Exception as error:
            raise self.refused(inputs, error) from error
        return outputs if len(outputs) > 1 else outputs[0]

    def profile(self, inputs: tuple[Any, ...], calls: int) -> tuple[OperatorTime, ...]:
        """Return where the time of one call goes, as ONNX Runtime's profiler tells it."""
        return operator_times(self.file, session_options(self.threads, self.samples), flattened(inputs), calls)
