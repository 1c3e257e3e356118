"""Schemes: the numeric formats a trained network is brought into, and the audit of what they really did.

What a plan must know of a scheme stands in its registry entry, so that the modules that hold schemes may import torch.
"""

from sparsebench.quantization.attention import plain_attention
from sparsebench.quantization.auditing import LayerFact, audit, in_float, int8_fraction, warn_no_effect, zero_share
from sparsebench.quantization.base import Scheme, failing_as, float_copy, quiet_libraries, quiet_runtimes
from sparsebench.quantization.calibration import (
    Recording,
    calibration_state,
    load_calibration_state,
    load_trained_state,
    require_calibrated,
)
from sparsebench.quantization.torch_ao import settling

__all__ = [
    "LayerFact",
    "Recording",
    "Scheme",
    "audit",
    "calibration_state",
    "failing_as",
    "float_copy",
    "in_float",
    "int8_fraction",
    "load_calibration_state",
    "load_trained_state",
    "plain_attention",
    "quiet_libraries",
    "quiet_runtimes",
    "require_calibrated",
    "settling",
    "warn_no_effect",
    "zero_share",
]
