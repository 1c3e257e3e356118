"""An ONNX file as a module of torch, run by ONNX Runtime."""

import json
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from sparsebench.backends.onnxruntime.export import BATCH
from sparsebench.backends.outside_torch import ExportedNetwork
from sparsebench.quantization.base import failing_as

_ERRORS_ONLY = 3


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

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what the network computes for tensors (N, …).

        Raises:
            QuantizationError: where ONNX Runtime does not take the inputs.
        """
        try:
            feed = {name: value.detach().contiguous().numpy() for name, value in zip(self._names, inputs, strict=True)}
            outputs = tuple(torch.from_numpy(array) for array in self._session.run(None, feed))
        except Exception as error:
            raise self.refused(inputs, error) from error
        return outputs if len(outputs) > 1 else outputs[0]


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
    remedy = "Choose another scheme or backend, or compress the network again where its file may be damaged."
    with failing_as("ONNX Runtime cannot run this network", remedy):
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def profiled(file: bytes, inputs: tuple[Tensor, ...], optimise: bool = True) -> list[dict[str, Any]]:
    """Return what ONNX Runtime tells of each operation of one pass, in order.

    Args:
        file: the ONNX file.
        inputs: positional arguments of one forward pass.
        optimise: whether the graph that really runs is told of, or the one in the file.

    Returns:
        One dictionary an operation, with its ``name`` and the ``args`` of ONNX Runtime's profile: ``op_name``,
        ``input_type_shape``, ``activation_size``, ….
    """
    options = session_options(threads=1)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="sparsebench-onnxruntime-") as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        running = session(file, options)
        names = [value.name for value in running.get_inputs()]
        running.run(
            None, {name: value.detach().contiguous().numpy() for name, value in zip(names, inputs, strict=True)}
        )
        events = json.loads(Path(running.end_profiling()).read_text(encoding="utf-8"))
    suffix = "_kernel_time"
    return [
        {**event, "name": event["name"].removesuffix(suffix)}
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(suffix)
    ]
