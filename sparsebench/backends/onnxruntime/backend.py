"""ONNX Runtime on the CPU, quantized by its own tools."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.backends.base import Compressed, offered
from sparsebench.backends.elsewhere import naming_another
from sparsebench.backends.flat import require_tensors, taking_tensors
from sparsebench.backends.onnxruntime import checking, graph
from sparsebench.backends.onnxruntime.finite import with_finite_scales
from sparsebench.backends.onnxruntime.network import ONNXNetwork, export_onnx
from sparsebench.backends.onnxruntime.offer import ONNXOffer
from sparsebench.backends.onnxruntime.sessions import told_by_file
from sparsebench.backends.outside_torch import (
    calibration_arrays,
    require_files,
    require_own,
    require_same,
)
from sparsebench.backends.probe import int8_saturates, is_x86
from sparsebench.errors import QuantizationError
from sparsebench.quantization import Recording, failing_as, float_copy, in_float, quiet_runtimes
from sparsebench.quantization.observing import INFINITE
from sparsebench.store.scratch import scratch
from sparsebench.tensors import samples_in
from sparsebench.wording.text import first_of

with quiet_runtimes():
    import onnx
    import onnxruntime
    from onnxruntime import quantization
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    from onnxruntime.quantization.shape_inference import quant_pre_process

FILE = "model.onnx"

_TAKES_INFINITE = "minmax"
"""The way to calibrate that goes on where a value is infinite; its scale is told apart afterwards."""

_NAMES_SHOWN = 3
_METHODS = {method.name.lower(): method for method in quantization.CalibrationMethod}
_DYNAMIC_OPERATORS = ["MatMul", "Gemm", "LSTM", "Attention"]
"""Linear and recurrent layers, as ``dynamic`` is everywhere; ONNX Runtime would add convolutions, which get slower."""

_STATIC_OPERATORS = sorted({*QDQRegistry, *QLinearOpsRegistry})
"""What ONNX Runtime quantizes statically where it is told nothing."""

_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "dynamic": "{kind} kept in float: ONNX Runtime quantizes Linear and LSTM dynamically, or was told to leave it",
    "static": "{kind} kept in float: ONNX Runtime quantizes it not statically, or was told to leave it",
    "both": "{kind} kept in float: ONNX Runtime quantizes it in neither way, or was told to leave it",
}


class ONNXRuntime(ONNXOffer):
    """Runs ONNX files in ONNX Runtime on the CPU; int8 by its own quantizers, in QDQ form."""

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Export, compare with torch, quantize as the scheme says."""
        scheme = offered(self, scheme)
        with naming_another(self.name, scheme, net, example):
            return self._compressed(net, scheme, example, batches)

    def _compressed(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        net, inputs = taking_tensors(self.name, net, example)
        file = export_onnx(net, inputs)
        require_same(self.name, _network(file), float_copy(net), inputs)
        kept: dict[str, str] = {}
        if scheme in ("static", "both"):
            file, kept = self._static(file, batches, leaves=_DYNAMIC_OPERATORS if scheme == "both" else ())
        if scheme in ("dynamic", "both"):
            file = self._dynamic(file, prepared=scheme == "both")
        told = told_by_file(file, tuple(value[:1] for value in inputs))
        return Compressed(
            network=_network(file),
            files={FILE: file},
            layers=(*graph.audit_onnx(file, told, _WHY[scheme]), *in_float(kept)),
            export=graph.export_of(file),
            working_memory_bytes=graph.working_memory_onnx(file, told),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the file; the float network is not needed."""
        offered(self, scheme)
        (file,) = require_files(self.name, files, FILE)
        network = _network(checking.artifact(file, FILE))
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> ONNXNetwork:
        """Return the network optimised for exactly this number of samples and so many threads."""
        return ONNXNetwork(require_own(self.name, network, ONNXNetwork).file, threads, samples=samples_in(inputs))

    def _static(self, file: bytes, batches: Recording, leaves: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        try:
            return self._calibrated(file, batches, self.calibration, leaves)
        except QuantizationError as error:
            # The others sort values into bins, and end in an error of NumPy where one has no place in any.
            if self.calibration == _TAKES_INFINITE:
                raise
            _, kept = self._calibrated(file, batches, _TAKES_INFINITE, leaves)
            infinite = [name for name, reason in kept.items() if reason == INFINITE]
            if not infinite:
                raise
            raise QuantizationError(
                f"ONNX Runtime's calibration {self.calibration!r} sorts values into bins, and those of "
                f"{first_of(infinite, _NAMES_SHOWN)} are not all finite, as where a mask fills in −inf. Set "
                f"calibration = {_TAKES_INFINITE!r} of backend 'onnxruntime', which leaves such tensors in float."
            ) from error

    def _calibrated(
        self, file: bytes, batches: Recording, method: str, leaves: Sequence[str]
    ) -> tuple[bytes, dict[str, str]]:
        given = self._fit(file)
        if leaves:
            operators = given.get("op_types_to_quantize", _STATIC_OPERATORS)
            given["op_types_to_quantize"] = [name for name in operators if name not in leaves]
        reader = _Reader(batches, [value.name for value in onnx.load_model_from_string(file).graph.input])
        activations = self.activation_type or ("uint8" if is_x86() else "int8")
        return _quantized(
            file,
            quantization.quantize_static,
            calibration_data_reader=reader,
            quant_format=quantization.QuantFormat.QDQ,
            calibrate_method=_METHODS[method],
            activation_type=quantization.QuantType.QUInt8 if activations == "uint8" else quantization.QuantType.QInt8,
            # One batch at a time: otherwise the activations of all are in memory together.
            extra_options={"CalibStridedMinMax": 1, **self.extra},
            **given,
        )

    def _dynamic(self, file: bytes, prepared: bool) -> bytes:
        given = self._given()
        operators = given.get("op_types_to_quantize", _DYNAMIC_OPERATORS)
        if prepared:  # The others were quantized before.
            operators = [name for name in operators if name in _DYNAMIC_OPERATORS]
        if not operators:
            return file
        given["op_types_to_quantize"] = operators
        quantize = quantization.quantize_dynamic
        return _quantized(file, quantize, prepared, extra_options=dict(self.extra), **given)[0]

    def _fit(self, file: bytes) -> dict[str, Any]:
        """Return the options, with what cannot have a scale for each channel left in float where channels have theirs.

        ONNX Runtime takes the scales of one group of a transposed convolution for those of all, and gives what an
        embedding looks up the scales of its weights, which are for each word where a layer shares them.
        """
        given = self._given()
        if not given["per_channel"]:
            return given
        nodes = onnx.load_model_from_string(file).graph.node
        readers = Counter(name for node in nodes for name in node.input)
        unfit = [
            node.name
            for node in nodes
            if (node.op_type == "ConvTranspose" and any(one.name == "group" and one.i > 1 for one in node.attribute))
            or (node.op_type == "Gather" and readers[node.input[0]] > 1)
        ]
        return {**given, "nodes_to_exclude": [*given.get("nodes_to_exclude", ()), *unfit]} if unfit else given

    def _given(self) -> dict[str, Any]:
        given = {key: value for key, value in self.options.items() if value is not None}
        return {"reduce_range": int8_saturates()} | given


def _network(file: bytes) -> ONNXNetwork:
    """Return a file ready for any batch size, with torch's number of threads."""
    return ONNXNetwork(file, torch.get_num_threads())


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc] # it has no types
    """Recorded batches, in portions, after each of which the activations are given up."""

    def __init__(self, batches: Recording, names: list[str]) -> None:
        self._names, self._count = names, len(batches)
        self._arrays = calibration_arrays("onnxruntime", batches)
        self._left = 0

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin a portion; they are asked for in order."""
        self._left = end_index - start_index

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch of the portion, None at its end."""
        if not self._left:
            return None
        self._left -= 1
        return dict(zip(self._names, next(self._arrays), strict=True))


def _prepare(source: Path, target: Path) -> None:
    """Fold and fuse what can be; symbolic shapes help where they can be found, and are not needed."""
    # Where ONNX Runtime finds no symbolic shapes, it leaves the graph behind in the folder it is in.
    with chdir(source.parent):
        try:
            quant_pre_process(source, target)
        except Exception:
            quant_pre_process(source, target, skip_symbolic_shape=True)


def _quantized(
    file: bytes, quantize: Callable[..., Any], prepared_before: bool = False, **arguments: Any
) -> tuple[bytes, dict[str, str]]:
    """Return what one of ONNX Runtime's quantizers makes of a file, and the activations that it finds no scale for."""
    remedy = "Change the options of backend 'onnxruntime', or choose another scheme."
    with (
        scratch() as folder,
        failing_as("ONNX Runtime cannot quantize the network", remedy),
    ):
        exported, prepared, result = (folder / f"{name}.onnx" for name in ("exported", "prepared", "result"))
        exported.write_bytes(file)
        # The sessions that the quantizers make would print warnings.
        onnxruntime.set_default_logger_severity(3)
        try:
            with quiet_runtimes():
                if prepared_before:
                    prepared = exported
                else:
                    _prepare(exported, prepared)
                quantize(prepared, result, **arguments)
        finally:
            onnxruntime.set_default_logger_severity(2)
        model = onnx.load(str(result))
        made = bytes(model.SerializeToString(deterministic=True))
        return with_finite_scales(made, onnx.load(str(prepared)))
