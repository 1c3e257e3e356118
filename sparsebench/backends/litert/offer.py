"""What LiteRT offers on the CPU."""

from collections.abc import Sequence
from typing import Any, ClassVar

from sparsebench.backends.litert.place import not_there
from sparsebench.backends.probe import RuntimeOffer
from sparsebench.errors import SparsebenchError
from sparsebench.registry import unknown_name

CALIBRATIONS = ("minmax", "moving_average")

_HALF = "XNNPACK computes in fp32 on most processors, whatever the file holds; choose openvino."


class LiteRTOffer(RuntimeOffer):
    """What LiteRT offers on the CPU.

    Args:
        calibration: how ``static`` joins the ranges of batches: ``minmax``, or ``moving_average``, which is AI Edge
            Quantizer's own default and leaves a twentieth of its weight to each batch after the first.
        ignored: what stays in float: regular expressions for names of operations, which are called after torch's
            modules: ``["features.0/CONV_2D"]``.
    """

    name = "litert"
    runtime = ("ai-edge-litert",)
    packages = ("ai_edge_litert",)
    schemes = ("fp32", "static", "dynamic", "weight_only")
    reasons: ClassVar = {
        "both": "one recipe quantizes an operation in one way; choose static, or both on 'onnxruntime'.",
        "qat": "LiteRT does not train; choose static, or qat on backend 'eager'.",
        "bf16": _HALF,
        "fp16": _HALF,
    }

    def __init__(self, calibration: str = "minmax", ignored: Sequence[str] = ()) -> None:
        if calibration not in CALIBRATIONS:
            raise SparsebenchError(unknown_name("calibration", calibration, CALIBRATIONS))
        self.calibration = calibration
        self.ignored = [ignored] if isinstance(ignored, str) else list(ignored)
        self.options: dict[str, Any] = {}

    def problem(self) -> str | None:
        """Return what is missing and how to install it: the runtime, or the environment of the converter."""
        return super().problem() or not_there()
