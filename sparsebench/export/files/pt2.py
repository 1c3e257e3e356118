"""Programs written by ``torch.export.save``, run by PyTorch's own kernels as they are, without a compiler."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.pt2_safety import refuse_code

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def problem() -> str | None:
    """Return why such files cannot be run here: torch is always there."""


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes; a size that is a symbol is an open one."""
    from torch import Tensor

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
    import torch
    from torch.utils import _pytree as pytree

    program = _program(path)
    # Guards are code out of the file; the shapes of the feeds were checked against it.
    module = program.module(check_guards=False)
    tensors = [torch.from_numpy(feed.values()).to(getattr(torch, feed.dtype)) for feed in feeds]
    arguments, keywords = pytree.tree_unflatten(tensors, program.call_spec.in_spec)

    @torch.inference_mode()
    def call() -> object:
        return module(*arguments, **keywords)

    return call


def _program(path: Path) -> "ExportedProgram":
    """Read a program after a look at its archive; what was looked at is what is read."""
    import torch

    content = path.read_bytes()
    namespaces = refuse_code(content)
    if "quantized_decomposed" in namespaces:
        import torch.ao.quantization.fx._decomposed
    if "torchao" in namespaces:
        import torchao  # noqa: F401 - registers its operators
    return torch.export.load(BytesIO(content))


__all__ = ["load", "problem", "read_inputs"]
