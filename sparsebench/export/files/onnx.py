"""ONNX files, run by ONNX Runtime on the CPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input

_DTYPES = {"float": "float32", "double": "float64"}


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes; a size with a name is an open one."""
    found = []
    for one in _session(path, threads=1).get_inputs():
        kind = one.type.removeprefix("tensor(").removesuffix(")")
        if kind == one.type or kind == "string":
            raise SparsebenchError(f"input {one.name!r} is a {one.type}; only tensors of numbers can be made up.")
        shape = tuple(size if isinstance(size, int) else None for size in one.shape)
        found.append(Input(one.name, _DTYPES.get(kind, kind), shape))
    return tuple(found)


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:
    """Return a call of the network."""
    return partial(_session(path, threads).run, None, {feed.name: feed.values() for feed in feeds})


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that go on spinning after a call would take time from whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
