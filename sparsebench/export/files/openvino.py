"""OpenVINO's intermediate representation, run by OpenVINO on the CPU.

What is handed on is a graph written anew (``backends.openvino.checking``), and weights in memory.
"""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import openvino

from sparsebench.backends.openvino.checking import NUMBER, checked
from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.reading import content_beside, content_of, text_of

_TYPES = {
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"{kind}{bits}": f"{name}{bits}" for kind, name in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)},
    "boolean": "bool",
}
"""What the types of inputs are called there."""


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes. Nothing is loaded for it."""
    net, _ = _rewritten(path)
    layers = net.find("layers")
    return tuple(_input(one) for one in (layers if layers is not None else ()) if one.get("type") == "Parameter")


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:
    """Return a call of the network, which is fixed to the shapes of ``feeds`` as a deployer would do."""
    core = openvino.Core()
    net, weights = _rewritten(path)
    model = core.read_model(ElementTree.tostring(net), weights)
    by_name = {feed.name: feed for feed in feeds}
    ports = {number: by_name[_name_of(port, by_name)] for number, port in enumerate(model.inputs)}
    model.reshape({number: list(feed.shape) for number, feed in ports.items()})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        # The process stays on its cores already.
        "ENABLE_CPU_PINNING": "NO",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    for number, feed in ports.items():
        request.set_input_tensor(number, openvino.Tensor(feed.values()))
    call: Callable[[], object] = request.infer
    return call


def _name_of(port: "openvino.Output", names: dict[str, Feed]) -> str:
    given = {port.get_node().get_friendly_name(), *port.get_names()} & names.keys()
    if len(given) != 1:
        raise SparsebenchError(f"its input {port.get_node().get_friendly_name()!r} has no name of its own.")
    return str(given.pop())


def _input(layer: Element) -> Input:
    data, port = layer.find("data"), layer.find("output/port")
    name = layer.get("name", "")
    if port is not None and port.get("names"):
        # Commas within a name have a backslash before them.
        name = re.split(r"(?<!\\),", port.get("names", ""))[0].replace("\\,", ",")
    kind = data.get("element_type", "") if data is not None else ""
    shape = data.get("shape", "") if data is not None else ""
    if kind not in _TYPES:
        raise SparsebenchError(f"it takes {kind or 'a type that it does not say'}, which NumPy cannot make.")
    if "..." in shape:
        raise SparsebenchError(f"input {name!r} has no known number of dimensions.")
    sizes = [size.strip() for size in shape.split(",") if size.strip()]
    return Input(name, _TYPES[kind], tuple(int(size) if NUMBER.fullmatch(size) else None for size in sizes))


def _rewritten(path: Path) -> tuple[Element, bytes]:
    """Return a graph written anew, and its weights.

    Raises:
        SparsebenchError: where it holds anything but operations of OpenVINO's own sets; a sentence without its name.
    """
    content = text_of(content_of(path))
    weights = content_beside(path, path.with_suffix(".bin").name)
    return checked(content, len(weights)), weights
