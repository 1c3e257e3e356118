"""Schemes: the numeric formats a trained network is brought into, and the audit of what they really did.

What a plan must know of a scheme stands in its registry entry, so that the modules that hold schemes may import torch.
"""

from sparsebench.quantization.auditing import LayerFact, audit, int8_fraction, warn_no_effect, zero_share
from sparsebench.quantization.base import Scheme
from sparsebench.quantization.calibration import calibration_state, load_calibration_state, load_trained_state
from sparsebench.quantization.recording import Call, Recording
from sparsebench.quantization.torch_ao import settling

__all__ = [
    "Call",
    "LayerFact",
    "Recording",
    "Scheme",
    "audit",
    "calibration_state",
    "int8_fraction",
    "load_calibration_state",
    "load_trained_state",
    "settling",
    "warn_no_effect",
    "zero_share",
]
