"""OpenVINO models without the ranges of int8 that are not finite."""

import numpy as np

from sparsebench.backends.openvino.graph import ov
from sparsebench.quantization.observing import INFINITE

_RANGES = range(1, 5)
"""Inputs of a FakeQuantize that hold its ranges; the first is what it rounds."""


def without_infinite_ranges(model: ov.Model) -> dict[str, str]:
    """Take out of a model, in place, what rounds a tensor by a range that is not finite.

    Returns:
        The names of the operations that made these tensors, with why they stay in float.
    """
    named = {}
    for operation in model.get_ordered_ops():
        if operation.get_type_name() != "FakeQuantize":
            continue
        ranges = [operation.input_value(port).get_node() for port in _RANGES]
        if all(np.isfinite(np.asarray(one.data)).all() for one in ranges if one.get_type_name() == "Constant"):
            continue
        source = operation.input_value(0)
        operation.output(0).replace(source)
        named[str(source.get_node().get_friendly_name())] = INFINITE
    if named:
        model.validate_nodes_and_infer_types()
    return named
