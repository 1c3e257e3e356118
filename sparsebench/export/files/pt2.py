"""Programs written by ``torch.export.save``, run by PyTorch's own kernels as they are, without a compiler.

An archive is looked at before torch reads it. ``torch.export.load`` unpickles whatever an archive marks as pickled,
falls back to unrestricted unpickling of its example inputs, evaluates the expressions of symbolic sizes, and resolves
the targets of calls from ``torch`` and ``operator``. An archive may hold anything there. What is let through here is
what plain networks need: weights as bytes, example inputs that ``weights_only`` accepts, arithmetic in sizes, and calls
of registered operators.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input

_REGISTERED_BY = {"quantized_decomposed": "torch.ao.quantization.fx._decomposed", "torchao": "torchao"}
"""What registers the operators of a namespace that torch has not from the start."""

_OPERATOR = re.compile(r"torch\.ops\.([A-Za-z]\w*)\.(\w+)(\.\w+)?")
_ARITHMETIC = {
    *("getitem", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "abs", "index"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "xor", "not_", "lshift", "rshift"),
}
_PLAIN = re.compile(r"math\.[a-z0-9]+|torch\.sym_[a-z]+|_operator\.(" + "|".join(sorted(_ARITHMETIC)) + ")")
_LOGIC = {"__and__", "__or__", "__xor__", "__lshift__", "__rshift__", "__iand__", "__ior__", "__ixor__"}
_SIZES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.Compare, ast.BoolOp),
    *(ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes; a size that is a symbol is an open one."""
    program = _program(path)
    names = set(program.graph_signature.user_inputs)
    found = []
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in names:
            continue
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            raise SparsebenchError(f"input {node.name!r} is a {type(value).__name__}; only tensors can be made up.")
        sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
        found.append(Input(node.name, str(value.dtype).removeprefix("torch."), sizes))
    return tuple(found)


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:  # noqa: ARG001 - torch's own
    """Return a call of the network; the timing process has set the threads of torch."""
    program = _program(path)
    # Guards are code out of the file; the shapes of the feeds were checked against it.
    module = program.module(check_guards=False)
    tensors = [torch.from_numpy(feed.values()).to(getattr(torch, feed.dtype)) for feed in feeds]
    arguments, keywords = pytree.tree_unflatten(tensors, program.call_spec.in_spec)

    @torch.inference_mode()
    def call() -> object:
        return module(*arguments, **keywords)

    return call


def _program(path: Path) -> ExportedProgram:
    """Read a program after a look at its archive; what was looked at is what is read."""
    content = path.read_bytes()
    namespaces = refuse_code(content)
    for namespace in namespaces & _REGISTERED_BY.keys():
        import_module(_REGISTERED_BY[namespace])
    return torch.export.load(BytesIO(content))


def refuse_code(content: bytes) -> set[str]:
    """Refuse an archive that torch could not read without unpickling or running what is in it.

    Args:
        content: of the file.

    Returns:
        The namespaces of the operators that it calls.

    Raises:
        SparsebenchError: a sentence without the file's name.
    """
    try:
        with ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            files = {name.partition("/")[2]: name for name in names}
            # Two files of one name could be one for us and the other for torch; files outside the folder are those of
            # the format before 2.8, which is pickled.
            if len(files) < len(names) or "" in files:
                raise SparsebenchError("is no archive as torch.export.save writes it; export the network again.")
            _refuse_other_formats(files)
            for name, full in files.items():
                if name.endswith("_config.json"):
                    _refuse_pickles(json.loads(archive.read(full)))
                elif name.startswith("data/sample_inputs/"):
                    _refuse_pickled_examples(archive.read(full))
            models = [json.loads(archive.read(full)) for name, full in files.items() if name.startswith("models/")]
    except (BadZipFile, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SparsebenchError(
            f"is no archive of torch.export ({type(error).__name__}: {error}); write it with torch.export.save."
        ) from error
    return {space for model in models for space in _namespaces(model)}


def _refuse_other_formats(files: dict[str, str]) -> None:
    if not any(name.startswith("models/") for name in files):
        raise SparsebenchError("is no archive of torch.export; write it with torch.export.save.")
    if any(name.startswith("data/aotinductor/") for name in files):
        raise SparsebenchError("holds compiled code, which is not run; export the network with torch.export.save.")
    if any(name.startswith(("data/weights/", "data/constants/")) and name.endswith(".pt") for name in files):
        raise SparsebenchError("has pickled weights, as torch wrote them before 2.8; export the network again.")


def _refuse_pickles(config: dict[str, Any]) -> None:
    for name, one in config["config"].items():
        if one["use_pickle"] or one["path_name"].startswith(("custom_obj", "opaque_obj")):
            raise SparsebenchError(
                f"holds {name!r} as a pickle, and reading it could run any code. Export the network with plain "
                "tensors; torchao.utils.unwrap_tensor_subclass makes them of quantized ones."
            )


def _refuse_pickled_examples(content: bytes) -> None:
    try:
        if content:
            torch.load(BytesIO(content), weights_only=True)
    except Exception as error:
        raise SparsebenchError(
            "has example inputs that cannot be read without unpickling; export the network with tensors as inputs."
        ) from error


def _namespaces(model: Any) -> Iterator[str]:
    """Yield the namespaces of all operators; refuse other calls, and sizes that are more than arithmetic."""
    for part in _mappings(model):
        target, size = part.get("target"), part.get("expr_str")
        if isinstance(size, str) and not _is_arithmetic(size):
            raise SparsebenchError(f"has a size that is no arithmetic: {size[:80]!r}. Export the network again.")
        if not isinstance(target, str) or "inputs" not in part:
            continue
        operator = _OPERATOR.fullmatch(target)
        if operator and ("__" not in target or operator[2] in _LOGIC):
            yield operator[1]
        elif not _PLAIN.fullmatch(target):
            raise SparsebenchError(f"calls {target[:80]!r}, which is no operator of torch; it is not run.")


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _mappings(part)


def _is_arithmetic(text: str) -> bool:
    """Whether an expression has names, numbers, operators and calls of SymPy's classes only, none of them private."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(isinstance(node, _SIZES) and _is_harmless(node) for node in nodes)


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id[:1].isupper()
    if isinstance(node, ast.Name):
        return "__" not in node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.isidentifier() and "__" not in node.value
    return True
