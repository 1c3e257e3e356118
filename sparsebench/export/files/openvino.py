"""OpenVINO's intermediate representation, run by OpenVINO on the CPU.

What is handed on is a graph written anew of operations of OpenVINO's own sets, and weights in memory.
"""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import openvino

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.reading import content_beside, content_of, text_of

_CHILDREN = {
    "net": ("layers", "edges"),
    "layers": ("layer",),
    "layer": (
        *("data", "input", "output", "rt_info", "port_map", "back_edges"),
        *("body", "then_body", "else_body", "then_port_map", "else_port_map"),
    ),
    **dict.fromkeys(("body", "then_body", "else_body"), ("layers", "edges")),
    **dict.fromkeys(("port_map", "then_port_map", "else_port_map"), ("input", "output")),
    "back_edges": ("edge",),
    "edges": ("edge",),
    "input": ("port",),
    "output": ("port",),
    "port": ("dim", "rt_info"),
    "rt_info": ("attribute",),
    "attribute": ("dim",),
}
"""What may lie in what. All else, such as what wrote the file and with which settings, is left out."""

_SET = re.compile(r"opset\d{1,2}")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_NUMBER = re.compile(r"\d{1,18}")
_DEEPEST = 64
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
    return Input(name, _TYPES[kind], tuple(int(size) if _NUMBER.fullmatch(size) else None for size in sizes))


def _rewritten(path: Path) -> tuple[Element, bytes]:
    """Return a graph written anew, and its weights.

    Raises:
        SparsebenchError: where it holds anything but operations of OpenVINO's own sets; a sentence without its name.
    """
    content = text_of(content_of(path))
    weights = content_beside(path, path.with_suffix(".bin").name)
    try:
        text = content.decode()
        if "<!" in text.replace("<!--", ""):
            raise SparsebenchError("declares entities or a type of its own, which no such file does; export it again.")
        found = ElementTree.fromstring(text.encode("utf-8"), ElementTree.XMLParser(encoding="utf-8"))  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise SparsebenchError(f"is no graph of OpenVINO ({error}); write it with openvino.save_model.") from error
    if found.tag != "net":
        raise SparsebenchError(f"is no graph of OpenVINO but <{found.tag[:40]}>; write it with openvino.save_model.")
    return _copied(found, len(weights), _DEEPEST), weights


def _copied(found: Element, weights: int, depth: int) -> Element:
    if not depth:
        raise SparsebenchError(f"has elements more than {_DEEPEST} deep in each other; export it again.")
    if found.tag == "layer":
        _refuse_others(found, weights)
    made = Element(found.tag, dict(found.attrib))
    # What stands between elements is space, but in a <dim>.
    made.text = found.text if found.tag == "dim" else None
    made.extend([_copied(one, weights, depth - 1) for one in found if one.tag in _CHILDREN.get(found.tag, ())])
    return made


def _refuse_others(layer: Element, weights: int) -> None:
    kind, version, data = layer.get("type", ""), layer.get("version", ""), layer.find("data")
    if not _WORD.fullmatch(kind) or not _SET.fullmatch(version):
        raise SparsebenchError(
            f"has the operation {kind[:60]!r} of {version[:60]!r}, which is none of OpenVINO's own sets; extensions "
            "are not run. Export a network of PyTorch's own layers."
        )
    if kind == "Const" and data is not None:
        offset, size = data.get("offset", ""), data.get("size", "")
        if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(size) or int(offset) + int(size) > weights:
            raise SparsebenchError(
                f"says that {layer.get('name', '')[:60]!r} lies at {offset[:20]!r} of its weights with {size[:20]!r} "
                f"bytes, and they have {weights:,}. Export it again."
            )
