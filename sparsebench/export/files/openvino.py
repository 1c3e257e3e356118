"""OpenVINO's intermediate representation, run by OpenVINO on the CPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise SparsebenchError(f"its weights {weights.name} are not beside it; copy both files.")
    found = []
    for one in openvino.Core().read_model(path).inputs:
        shape = one.get_partial_shape()
        if shape.rank.is_dynamic:
            raise SparsebenchError(f"input {one.get_any_name()!r} has no known number of dimensions.")
        sizes = tuple(size.get_length() if size.is_static else None for size in shape)
        found.append(Input(one.get_any_name(), _dtype(one.get_element_type()), sizes))
    return tuple(found)


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:
    """Return a call of the network, which is fixed to the shapes of ``feeds`` as a deployer would do."""
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({feed.name: list(feed.shape) for feed in feeds})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        # The process stays on its cores already.
        "ENABLE_CPU_PINNING": "NO",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    for feed in feeds:
        request.set_tensor(feed.name, openvino.Tensor(feed.values()))
    call: Callable[[], object] = request.infer
    return call


def _dtype(kind: object) -> str:
    try:
        return str(np.dtype(kind.to_dtype()))  # type: ignore[attr-defined]
    except Exception as error:
        raise SparsebenchError(f"it takes {kind}, which NumPy cannot make.") from error
