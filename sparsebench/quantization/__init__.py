"""Schemes: the numeric formats a trained network is brought into, and the audit of what they really did."""

from sparsebench.quantization.audit import LayerFact, audit, int8_fraction, warn_no_effect, zero_share
from sparsebench.quantization.base import Scheme
from sparsebench.quantization.calibration import calibration_state, load_calibration_state

__all__ = [
    "LayerFact",
    "Scheme",
    "audit",
    "calibration_state",
    "int8_fraction",
    "load_calibration_state",
    "warn_no_effect",
    "zero_share",
]
