"""OpenVINO's graphs that somebody else may have written: made anew of operations of OpenVINO's own sets."""

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sparsebench.errors import QuantizationError, SparsebenchError

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
NUMBER = re.compile(r"\d{1,18}")
_DEEPEST = 64


def artifact(content: bytes, weights: bytes, name: str) -> bytes:
    """Return the graph in an artifact of a run, written anew.

    Raises:
        QuantizationError: where it holds anything else, or weights that are not there.
    """
    try:
        return bytes(ElementTree.tostring(checked(content, len(weights))))
    except SparsebenchError as error:
        raise QuantizationError(f"The artifact {name} {error} Compress the network again.") from error


def checked(content: bytes, weights: int) -> Element:
    """Return a graph written anew.

    Args:
        content: of the file.
        weights: bytes of the file of its weights.

    Raises:
        SparsebenchError: where it holds anything but operations of OpenVINO's own sets; a sentence without its name.
    """
    try:
        text = content.decode()
        if "<!" in text.replace("<!--", ""):
            raise SparsebenchError("declares entities or a type of its own, which no such file does; export it again.")
        found = ElementTree.fromstring(text.encode("utf-8"), ElementTree.XMLParser(encoding="utf-8"))  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise SparsebenchError(f"is no graph of OpenVINO ({error}); write it with openvino.save_model.") from error
    if found.tag != "net":
        raise SparsebenchError(f"is no graph of OpenVINO but <{found.tag[:40]}>; write it with openvino.save_model.")
    return _copied(found, weights, _DEEPEST)


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
        if not NUMBER.fullmatch(offset) or not NUMBER.fullmatch(size) or int(offset) + int(size) > weights:
            raise SparsebenchError(
                f"says that {layer.get('name', '')[:60]!r} lies at {offset[:20]!r} of its weights with {size[:20]!r} "
                f"bytes, and they have {weights:,}. Export it again."
            )
