"""What ONNX Runtime offers on the CPU."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sparsebench.backends.probe import RuntimeOffer
from sparsebench.errors import SparsebenchError
from sparsebench.registry import unknown_name

_HALF = "its kernels for CPUs compute in fp32, so that half precision would be cast back and forth; choose openvino."
METHODS = ("minmax", "entropy", "percentile", "distribution")


class ONNXOffer(RuntimeOffer):
    """What ONNX Runtime offers on the CPU.

    Args:
        calibration: how ``static`` and ``both`` find ranges: ``minmax``, ``entropy``, ``percentile`` or
            ``distribution``. In ``entropy`` ONNX Runtime begins with as many bins as levels, and cuts nothing off
            unless a later batch has a wider range than the first.
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
    packages = ("onnx", "onnxscript", "onnxruntime")
    schemes = ("fp32", "dynamic", "static", "both")
    reasons: ClassVar = {
        "qat": "ONNX Runtime does not train; choose static, or qat on backend 'eager'.",
        "weight_only": "its int8 weights come with int8 activations; choose dynamic, or weight_only on 'openvino'.",
        "bf16": _HALF,
        "fp16": _HALF,
    }

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
        if calibration not in METHODS:
            raise SparsebenchError(unknown_name("calibration method", calibration, METHODS))
        if activation_type not in (None, "uint8", "int8"):
            raise SparsebenchError(f"activation_type is {activation_type!r}; it must be 'uint8' or 'int8'.")
        self.calibration, self.activation_type, self.extra = calibration, activation_type, dict(extra or {})
        self.options = {
            "per_channel": per_channel,
            "reduce_range": reduce_range,
            "op_types_to_quantize": list(op_types_to_quantize) if op_types_to_quantize else None,
            "nodes_to_exclude": list(nodes_to_exclude) if nodes_to_exclude else None,
        }
