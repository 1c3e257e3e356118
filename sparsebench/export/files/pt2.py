"""Programs written by ``torch.export.save``, run by PyTorch's own kernels as they are, without a compiler."""

from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.pt2_safety import refuse_code

_REGISTERED_BY = {"quantized_decomposed": "torch.ao.quantization.fx._decomposed", "torchao": "torchao"}
"""What registers the operators of a namespace that torch has not from the start."""


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
