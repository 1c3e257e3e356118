"""ONNX Runtime on the CPU, quantized by its own tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.backends.base import Compressed, Export
from sparsebench.backends.probe import not_installed, why_not
from sparsebench.errors import QuantizationError, SparsebenchError
from sparsebench.registry import SCHEMES, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.backends.onnxruntime.network import ONNXNetwork
    from sparsebench.quantization import Recording

FILE = "model.onnx"

_OFFERED = ("fp32", "dynamic", "static")
_HALF = "its kernels for CPUs compute in fp32, so that half precision would be cast back and forth; choose openvino."
_REASONS = {
    "both": "ONNX Runtime quantizes a network either statically or dynamically; choose one of them.",
    "qat": "ONNX Runtime does not train; choose static, or qat on backend 'eager'.",
    "weight_only": "its int8 weights come with int8 activations; choose dynamic, or weight_only on 'openvino'.",
    "bf16": _HALF,
    "fp16": _HALF,
}
_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "dynamic": "{kind} kept in float: ONNX Runtime quantizes Linear and LSTM dynamically, or was told to leave it",
    "static": "{kind} kept in float: ONNX Runtime quantizes it not statically, or was told to leave it",
}
_METHODS = ("minmax", "entropy", "percentile", "distribution")


class ONNXRuntime:
    """Runs ONNX files in ONNX Runtime on the CPU; int8 by its own quantizers, in QDQ form.

    Args:
        calibration: how ``static`` finds ranges: ``minmax``, ``entropy``, ``percentile`` or ``distribution``. In
            ``entropy`` ONNX Runtime begins with as many bins as levels, and cuts nothing off unless a later batch has
            a wider range than the first.
        per_channel: whether each output channel of weights has its own scale.
        activation_type: ``uint8`` or ``int8``. None: ``uint8`` on processors of the x86 family, whose kernels want it;
            converting ``int8`` there, ONNX Runtime leaves layers after a branch in float.
        reduce_range: whether weights have 7 bits. None: they have on processors whose int8 products saturate.
        op_types_to_quantize: ONNX operators that are quantized; None for the defaults.
        nodes_to_exclude: nodes that stay in float, by name: ``features.0/Conv``.
        extra: further ``extra_options`` of ONNX Runtime's quantizers, such as ``{ CalibPercentile = 99.9 }``.
    """

    name = "onnxruntime"
    runtime = ("onnxruntime",)

    def __init__(
        self,
        calibration: str = "minmax",
        per_channel: bool = True,
        activation_type: str | None = None,
        reduce_range: bool | None = None,
        op_types_to_quantize: Sequence[str] | None = None,
        nodes_to_exclude: Sequence[str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if calibration not in _METHODS:
            raise SparsebenchError(unknown_name("calibration method", calibration, _METHODS))
        if activation_type not in (None, "uint8", "int8"):
            raise SparsebenchError(f"activation_type is {activation_type!r}; it must be 'uint8' or 'int8'.")
        self.calibration, self.activation_type, self.extra = calibration, activation_type, dict(extra or {})
        self.options = {
            "per_channel": per_channel,
            "reduce_range": reduce_range,
            "op_types_to_quantize": list(op_types_to_quantize) if op_types_to_quantize else None,
            "nodes_to_exclude": list(nodes_to_exclude) if nodes_to_exclude else None,
        }

    def problem(self) -> str | None:
        """Return which packages are missing and how to install them; None where all are there."""
        return not_installed("onnxruntime", "onnx", "onnxscript", "onnxruntime")

    def offers(self, scheme: str) -> str | None:
        """Return why ONNX Runtime does not offer ``scheme``, a sentence; None where it does."""
        return why_not(self.name, scheme, _OFFERED, _REASONS)

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Export, compare with torch, quantize as the scheme says.

        Raises:
            QuantizationError: where the scheme is not offered, or torch or ONNX Runtime cannot take the network.
        """
        scheme = self._canonical(scheme)
        from sparsebench.backends.exported import require_same, require_tensors
        from sparsebench.backends.onnxruntime import graph, quantization
        from sparsebench.backends.onnxruntime.export import export_onnx
        from sparsebench.quantization.base import float_copy

        inputs = require_tensors(self.name, example)
        file = export_onnx(net, inputs)
        require_same(self.name, _network(file), float_copy(net), inputs)
        if scheme == "static":
            file = quantization.quantize_static(
                file, batches, self.calibration, self.activation_type, self.options, self.extra
            )
        elif scheme == "dynamic":
            file = quantization.quantize_dynamic(file, self.options, self.extra)
        model = graph.parse(file)
        return Compressed(
            network=_network(file),
            files={FILE: file},
            layers=graph.audit_onnx(file, inputs, _WHY[scheme]),
            export=Export(file, graph.parameters_of(model), graph.payload_bytes(model)),
            working_memory_bytes=graph.working_memory_onnx(file, inputs),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the file; the float network is not needed.

        Raises:
            QuantizationError: where the file is no ONNX file, or one for other inputs.
        """
        self._canonical(scheme)
        from sparsebench.backends.exported import require_files, require_tensors

        (file,) = require_files(self.name, files, FILE)
        network = _network(file)
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> ONNXNetwork:
        """Return the network optimised for exactly this number of samples and so many threads."""
        from sparsebench.backends.onnxruntime.network import ONNXNetwork

        if not isinstance(network, ONNXNetwork):
            raise QuantizationError(f"This {type(network).__name__} is no network of backend 'onnxruntime'.")
        return ONNXNetwork(network.file, threads, samples=len(inputs[0]))

    def _canonical(self, scheme: str) -> str:
        reason = self.offers(scheme)
        if reason:
            raise QuantizationError(reason)
        return SCHEMES.canonical(scheme)


def _network(file: bytes) -> ONNXNetwork:
    """Return a file ready for any batch size, with torch's number of threads."""
    import torch

    from sparsebench.backends.onnxruntime.network import ONNXNetwork

    return ONNXNetwork(file, torch.get_num_threads())
