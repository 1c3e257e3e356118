"""Files of LiteRT, run by LiteRT on the CPU.

What is handed on is the file made anew (``backends.litert.checking``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from sparsebench.backends.litert.checking import checked
from sparsebench.backends.litert.files import ANY, TYPES, graph_of, read
from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Feed, Input
from sparsebench.export.files.reading import content_of

_NUMBERS = {"float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"}


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Return what the network takes. Nothing is loaded for it."""
    model = read(checked(content_of(path)))
    return tuple(_input(model, one) for one in model.signatureDefs[0].inputs)


def load(path: Path, feeds: tuple[Feed, ...], threads: int) -> Callable[[], object]:
    """Return a call of the network, which is made ready for the shapes of ``feeds``."""
    file = checked(content_of(path))
    places = {one.name.decode(): one.tensorIndex for one in read(file).signatureDefs[0].inputs}
    interpreter = Interpreter(model_content=file, num_threads=threads)
    for feed in feeds:
        interpreter.resize_tensor_input(places[feed.name], list(feed.shape))
    interpreter.allocate_tensors()
    for feed in feeds:
        interpreter.set_tensor(places[feed.name], feed.values())
    call: Callable[[], object] = interpreter.invoke
    return call


def _input(model: Any, one: Any) -> Input:
    tensor = graph_of(model).tensors[one.tensorIndex]
    name, kind = one.name.decode(errors="replace"), TYPES.get(tensor.type, "").lower()
    if kind not in _NUMBERS:
        raise SparsebenchError(
            f"input {name!r} is a tensor of {kind or 'an unknown type'}; only numbers can be made up."
        )
    sizes = [int(size) for size in (tensor.shape if tensor.shape is not None else ())]
    shape: list[int | None] = [*sizes]
    if model.description == ANY and shape:
        shape[0] = None
    return Input(name, kind, tuple(shape))
