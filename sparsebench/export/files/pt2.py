"""Programs written by ``torch.export.save``, run by PyTorch's own kernels as they are, without a compiler.

``torch.export.load`` unpickles whatever an archive marks as pickled, finds entries whatever the case of their names,
falls back to unrestricted unpickling of example inputs, evaluates sizes as Python, and resolves whatever a program
calls. So it never sees a file: it is given an archive that was written anew, of a program that was (``program``), of
weights as bytes, and of no example inputs at all.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive._package import PT2ArchiveWriter
from torch.utils import _pytree as pytree

from sparsebench.errors import SparsebenchError
from sparsebench.export.files import program
from sparsebench.export.files.archive import entries
from sparsebench.export.files.guarded import guard
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.reading import content_of, text_of
from sparsebench.export.files.rules import fields, refused, table, text, truth

_REGISTERED_BY = {"quantized_decomposed": "torch.ao.quantization.fx._decomposed", "torchao": "torchao"}
"""What registers the operators of a namespace that torch has not from the start."""

_MODEL, _EXAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_TENSORS = {"data/weights/": "weight", "data/constants/": "tensor"}
_CONFIGS = {folder: f"{folder}model_{folder.split('/')[1]}_config.json" for folder in _TENSORS}
_NAMES = re.compile(
    r"models/model\.json|data/sample_inputs/model\.pt|archive_(format|version)|byteorder|\.format_version"
    r"|\.storage_alignment|\.data/(version|serialization_id)|extra/[\w./ -]{1,200}"
    r"|data/weights/(model_weights_config\.json|weight_\d{1,7})"
    r"|data/constants/(model_constants_config\.json|tensor_\d{1,7})",
    re.ASCII,
)
"""All that ``torch.export.save`` writes of one network; of it, what is not read here is left out."""

_KINDS = {
    1: ("uint8", 1),
    2: ("int8", 1),
    3: ("int16", 2),
    4: ("int32", 4),
    5: ("int64", 8),
    6: ("float16", 2),
    7: ("float32", 4),
    8: ("float64", 8),
    9: ("complex32", 4),
    10: ("complex64", 8),
    11: ("complex128", 16),
    12: ("bool", 1),
    13: ("bfloat16", 2),
    28: ("uint16", 2),
    29: ("float8_e4m3fn", 1),
    30: ("float8_e5m2", 1),
    31: ("float8_e4m3fnuz", 1),
    32: ("float8_e5m2fnuz", 1),
    33: ("float8_e8m0fnu", 1),
    34: ("uint32", 4),
    35: ("uint64", 8),
}
"""What numbers in a program are which type, with its bytes (torch/_export/serde/schema.py)."""

_UNFED = ("complex32", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes; a size that is an expression is an open one. Nothing is loaded for it."""
    made, _ = _rewritten(content_of(path))
    graph = made["graph_module"]["graph"]
    return tuple(_input(spec, graph) for spec in made["graph_module"]["signature"]["input_specs"] if _is_given(spec))


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:  # noqa: ARG001 - torch's own
    """Return a call of the network; the timing process has set the threads of torch."""
    loaded = _program(path)
    module = loaded.module(check_guards=False)
    guard(module)
    tensors = [torch.from_numpy(feed.values()).to(getattr(torch, feed.dtype)) for feed in feeds]
    arguments, keywords = pytree.tree_unflatten(tensors, loaded.call_spec.in_spec)

    @torch.inference_mode()
    def call() -> object:
        return module(*arguments, **keywords)

    return call


def rewrite(content: bytes) -> tuple[bytes, set[str]]:
    """Return an archive written anew of another one, and the namespaces of the operators that its network calls.

    Args:
        content: of a file of ``torch.export.save``.

    Raises:
        SparsebenchError: where it holds anything that a plain network has not; a sentence without the file's name.
    """
    made, tensors = _rewritten(content)
    written = BytesIO()
    with PT2ArchiveWriter(written) as writer:
        for name, one in tensors.items():
            writer.write_bytes(name, one)
        writer.write_bytes(_MODEL, json.dumps(made).encode())
        writer.write_bytes(_EXAMPLES, b"")
    return written.getvalue(), set(program.namespaces_of(made["graph_module"]["graph"]))


def _program(path: Path) -> ExportedProgram:
    written, namespaces = rewrite(content_of(path))
    for namespace in namespaces & _REGISTERED_BY.keys():
        import_module(_REGISTERED_BY[namespace])
    return torch.export.load(BytesIO(written))


def _rewritten(content: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a program made anew, and the entries of its weights and constants by name, their tables among them."""
    found = entries(content, _NAMES, _explained)
    if found.get("archive_format") != b"pt2" or _MODEL not in found:
        raise SparsebenchError("is no archive of torch.export; write it with torch.export.save.")
    if found.get("byteorder", sys.byteorder.encode()) != sys.byteorder.encode():
        raise SparsebenchError(f"was written on a machine that is not {sys.byteorder}-endian; export it on this one.")
    try:
        tensors = dict(pair for folder in _TENSORS for pair in _tensors(found, folder))
        return program.rewritten(json.loads(text_of(found[_MODEL]))), tensors
    except RecursionError as error:
        most = sys.getrecursionlimit()
        raise refused(f"its parts lie more than {most:,} deep in each other, or nearly so") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SparsebenchError(
            f"is no archive of torch.export ({type(error).__name__}: {error}); write it with torch.export.save."
        ) from error


def _explained(name: str) -> str | None:
    """Return why an entry makes a file one that is not run, where there is more to say than that it is not known."""
    if name.startswith("data/aotinductor/"):
        return "holds compiled code, which is not run; export the network with torch.export.save."
    if name.startswith(tuple(_TENSORS)) and name.endswith(".pt"):
        return "has pickled weights, as torch wrote them before 2.8; export the network again."
    if name.startswith(("data/constants/custom_obj", "data/constants/opaque_obj")):
        return _pickled(name.rpartition("/")[2])
    return None


def _pickled(name: str) -> str:
    return (
        f"holds {name!r} as a pickle, and reading it could run any code. Export the network with plain tensors; "
        "torchao.utils.unwrap_tensor_subclass makes them of quantized ones."
    )


def _tensors(found: dict[str, bytes], folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield the entries of the tensors in a folder, and the table that says which is which."""
    own = text(re.compile(rf"{_TENSORS[folder]}_\d{{1,7}}", re.ASCII), "the name of an entry")
    config = json.loads(text_of(found[_CONFIGS[folder]]))["config"]
    for name, one in config.items():
        if one["use_pickle"] or str(one["path_name"]).startswith(("custom_obj", "opaque_obj")):
            raise SparsebenchError(_pickled(name))
    row = fields(path_name=own, is_param=truth, use_pickle=truth, tensor_meta=program.tensor_meta)
    made = table(program.path, row)(config)
    for name, one in made.items():
        content = found.get(folder + one["path_name"])
        if content is None or not _fits(one["tensor_meta"], len(content)):
            raise refused(f"the tensor {name!r} is not in it as its table says")
        yield folder + one["path_name"], content
    yield _CONFIGS[folder], json.dumps({"config": made}).encode()


def _fits(meta: dict[str, Any], there: int) -> bool:
    """Whether a tensor lies in so many bytes, from its first number to its last."""
    numbers = [one.get("as_int", -1) for one in (*meta["sizes"], *meta["strides"], meta["storage_offset"])]
    if min(numbers) < 0 or len(meta["sizes"]) != len(meta["strides"]) or meta["dtype"] not in _KINDS:
        return False
    sizes, strides = numbers[: len(meta["sizes"])], numbers[len(meta["sizes"]) : -1]
    if 0 in sizes:
        # Torch makes such a tensor without looking at what is there; without numbers it takes no memory.
        return True
    last = numbers[-1] + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    return bool((last + 1) * _KINDS[meta["dtype"]][1] <= there)


def _is_given(spec: dict[str, Any]) -> bool:
    return bool(spec.keys() & {"user_input", "constant_input"})


def _input(spec: dict[str, Any], graph: dict[str, Any]) -> Input:
    [(kind, value)] = (spec.get("user_input") or {"arg": spec.get("constant_input", {}).get("value")})["arg"].items()
    if kind != "as_tensor":
        what = kind.removeprefix("as_")
        raise SparsebenchError(f"one of its inputs is of the kind {what!r}; only tensors can be made up.")
    meta = graph["tensor_values"][value["name"]]
    sizes = tuple(size.get("as_int") for size in meta["sizes"])
    name, _ = _KINDS.get(meta["dtype"], ("of an unknown type", 0))
    if name in _UNFED or meta["dtype"] not in _KINDS or any(size is not None and size < 0 for size in sizes):
        raise SparsebenchError(f"input {value['name']!r} is {name}, which cannot be made up.")
    return Input(value["name"], name, sizes)
