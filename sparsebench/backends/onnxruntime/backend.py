"""ONNX Runtime on the CPU, quantized by its own tools."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.backends.base import Compressed, offered
from sparsebench.backends.onnxruntime import graph, quantization
from sparsebench.backends.onnxruntime.export import export_onnx
from sparsebench.backends.onnxruntime.network import ONNXNetwork
from sparsebench.backends.onnxruntime.offer import ONNXOffer
from sparsebench.backends.outside_torch import require_files, require_own, require_same, require_tensors
from sparsebench.quantization import Recording
from sparsebench.quantization.base import float_copy

FILE = "model.onnx"

_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "dynamic": "{kind} kept in float: ONNX Runtime quantizes Linear and LSTM dynamically, or was told to leave it",
    "static": "{kind} kept in float: ONNX Runtime quantizes it not statically, or was told to leave it",
}


class ONNXRuntime(ONNXOffer):
    """Runs ONNX files in ONNX Runtime on the CPU; int8 by its own quantizers, in QDQ form."""

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Export, compare with torch, quantize as the scheme says."""
        scheme = offered(self, scheme)
        inputs = require_tensors(self.name, example)
        file = export_onnx(net, inputs)
        require_same(self.name, _network(file), float_copy(net), inputs)
        if scheme == "static":
            file = quantization.quantize_static(
                file, batches, self.calibration, self.activation_type, self.options, self.extra
            )
        elif scheme == "dynamic":
            file = quantization.quantize_dynamic(file, self.options, self.extra)
        return Compressed(
            network=_network(file),
            files={FILE: file},
            layers=graph.audit_onnx(file, inputs, _WHY[scheme]),
            export=graph.export_of(file),
            working_memory_bytes=graph.working_memory_onnx(file, inputs),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the file; the float network is not needed."""
        offered(self, scheme)
        (file,) = require_files(self.name, files, FILE)
        network = _network(file)
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> ONNXNetwork:
        """Return the network optimised for exactly this number of samples and so many threads."""
        return ONNXNetwork(require_own(self.name, network, ONNXNetwork).file, threads, samples=len(inputs[0]))


def _network(file: bytes) -> ONNXNetwork:
    """Return a file ready for any batch size, with torch's number of threads."""
    return ONNXNetwork(file, torch.get_num_threads())
