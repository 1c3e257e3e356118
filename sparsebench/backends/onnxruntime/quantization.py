"""ONNX Runtime's own quantizers, with options as they stand in a config."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from sparsebench.backends.outside_torch import calibration_arrays
from sparsebench.backends.probe import int8_saturates, is_x86
from sparsebench.backends.quiet import quiet
from sparsebench.quantization import Recording
from sparsebench.quantization.base import failing_as

with quiet():
    import onnx
    import onnxruntime
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

METHODS = {method.name.lower(): method for method in quantization.CalibrationMethod}
DYNAMIC_OPERATORS = ["MatMul", "Gemm", "LSTM", "Attention"]
"""Linear and recurrent layers, as ``dynamic`` is everywhere; ONNX Runtime would add convolutions, which get slower."""


def quantize_static(
    file: bytes,
    batches: Recording,
    method: str,
    activations: str | None,
    options: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> bytes:
    """Return a file whose layers are int8, calibrated on recorded batches.

    Args:
        file: the float network.
        batches: the calibration batches.
        method: a key of ``METHODS``.
        activations: ``uint8`` or ``int8``; None for what the kernels of this processor take.
        options: arguments of ``quantize_static``; None takes the default.
        extra: its ``extra_options``.

    Raises:
        QuantizationError: where ONNX Runtime cannot quantize the network.
    """
    reader = _Reader(batches, [value.name for value in onnx.load_model_from_string(file).graph.input])
    activations = activations or ("uint8" if is_x86() else "int8")
    return _quantized(
        file,
        quantization.quantize_static,
        calibration_data_reader=reader,
        quant_format=quantization.QuantFormat.QDQ,
        calibrate_method=METHODS[method],
        activation_type=quantization.QuantType.QUInt8 if activations == "uint8" else quantization.QuantType.QInt8,
        # One batch at a time: otherwise the activations of all are in memory together.
        extra_options={"CalibStridedMinMax": 1, **extra},
        **_given(options),
    )


def quantize_dynamic(file: bytes, options: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """Return a file whose linear and recurrent layers hold int8 weights and quantize their inputs as they run.

    Raises:
        QuantizationError: where ONNX Runtime cannot quantize the network.
    """
    given = {"op_types_to_quantize": DYNAMIC_OPERATORS} | _given(options)
    return _quantized(file, quantization.quantize_dynamic, extra_options=dict(extra), **given)


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


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"reduce_range": int8_saturates()} | {key: value for key, value in options.items() if value is not None}


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keep the sessions that the quantizers make from printing warnings."""
    onnxruntime.set_default_logger_severity(3)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(2)


def _prepare(source: Path, target: Path) -> None:
    """Fold and fuse what can be; symbolic shapes help where they can be found, and are not needed."""
    # Where ONNX Runtime finds no symbolic shapes, it leaves the graph behind in the folder it is in.
    with chdir(source.parent):
        try:
            quant_pre_process(source, target)
        except Exception:
            quant_pre_process(source, target, skip_symbolic_shape=True)


def _quantized(file: bytes, quantize: Callable[..., Any], **arguments: Any) -> bytes:
    """Return what one of ONNX Runtime's quantizers makes of a file that was prepared for it."""
    remedy = "Change the options of backend 'onnxruntime', or choose another scheme."
    with (
        tempfile.TemporaryDirectory(prefix="sparsebench-onnxruntime-") as folder,
        failing_as("ONNX Runtime cannot quantize the network", remedy),
    ):
        exported, prepared, result = (Path(folder, f"{name}.onnx") for name in ("exported", "prepared", "result"))
        exported.write_bytes(file)
        with quiet(), _errors_only():
            _prepare(exported, prepared)
            quantize(prepared, result, **arguments)
        model = onnx.load(str(result))
    return bytes(model.SerializeToString(deterministic=True))
