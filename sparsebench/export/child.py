"""Run an exported file in a process of its own, with torch and the file's runtime and nothing else.

``python -P child.py FORMAT FILE THREADS SETTINGS`` reads inputs from stdin and writes outputs to stdout, each as eight
bytes of length and a tuple of tensors, or one, as torch.save writes it. It ends when stdin does, or at a length of 0.
It imports nothing of sparsebench: what it can do, a deployer can.
"""

import importlib
import io
import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import torch

Network = Callable[..., Any]
Settings = dict[str, str]

OPERATIONS = "operations"
"""Setting of a program: the module that registers the operations it calls beside torch's own."""


def _pt2(path: str, threads: int, settings: Settings) -> Network:
    if OPERATIONS in settings:
        importlib.import_module(settings[OPERATIONS])
    torch.set_num_threads(threads)
    return torch.export.load(path).module()


def _onnx(path: str, threads: int, _: Settings) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, feed)]

    return run


def _openvino(path: str, threads: int, settings: Settings) -> Network:
    import openvino

    own = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(path, "CPU", {**own, **settings})

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        outputs = compiled([value.numpy() for value in inputs]).values()
        return [torch.from_numpy(output.copy()) for output in outputs]

    return run


def _tflite(path: str, threads: int, _: Settings) -> Network:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    with open(path, "rb") as file:
        content = file.read()
    model = schema.Model.GetRootAs(content, 0)
    together = model.Description() == b"Takes any number of samples."
    inputs, outputs = (
        [value.TensorIndex() for _, value in sorted((_place(of(n).Name()), of(n)) for n in range(length))]
        for of, length in (
            (model.SignatureDefs(0).Inputs, model.SignatureDefs(0).InputsLength()),
            (model.SignatureDefs(0).Outputs, model.SignatureDefs(0).OutputsLength()),
        )
    )
    interpreter = Interpreter(model_content=content, num_threads=threads)
    told = {one["index"]: one for one in (*interpreter.get_input_details(), *interpreter.get_output_details())}

    def once(*values: torch.Tensor) -> list[torch.Tensor]:
        for index, value in zip(inputs, values, strict=True):
            interpreter.resize_tensor_input(index, list(value.shape))
        interpreter.allocate_tensors()
        for index, value in zip(inputs, values, strict=True):
            scale, zero = told[index]["quantization"]
            grid = value.div(scale).round_().add_(zero).clamp_(-128, 127) if scale else value
            interpreter.set_tensor(index, grid.numpy().astype(told[index]["dtype"]))
        interpreter.invoke()
        found = []
        for index in outputs:
            scale, zero = told[index]["quantization"]
            value = torch.from_numpy(interpreter.get_tensor(index))
            found.append(value.to(torch.float32).sub_(zero).mul_(scale) if scale else value)
        return found

    def run(*values: torch.Tensor) -> list[torch.Tensor]:
        if together:
            return once(*values)
        each = [once(*(value[n : n + 1] for value in values)) for n in range(len(values[0]))]
        return [torch.cat(parts) for parts in zip(*each, strict=True)]

    return run


def _place(name: bytes) -> int:
    """Return the number at the end of the name of an argument, as of ``args_1``."""
    return int(name.rpartition(b"_")[2])


LOADERS: dict[str, Callable[[str, int, Settings], Network]] = {
    "pt2": _pt2,
    "onnx": _onnx,
    "openvino": _openvino,
    "tflite": _tflite,
}


def read(stream: BinaryIO) -> Any:
    """Return the next message, None where there are no more."""
    head = stream.read(8)
    size = struct.unpack("<q", head)[0] if len(head) == 8 else 0
    return torch.load(io.BytesIO(stream.read(size)), weights_only=True) if size else None


def write(stream: BinaryIO, value: Any) -> None:
    """Write a message."""
    written = io.BytesIO()
    torch.save(value, written)
    stream.write(struct.pack("<q", written.tell()))
    stream.write(written.getbuffer())
    stream.flush()


def end(stream: BinaryIO) -> None:
    """Write that there are no more messages."""
    stream.write(struct.pack("<q", 0))
    stream.flush()


def main() -> None:
    """Answer inputs with outputs until there are no more."""
    kind, path, threads, settings = sys.argv[1:5]
    # What libraries print goes to stderr; stdout is for answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    network = LOADERS[kind](path, int(threads), json.loads(settings))
    with torch.no_grad():
        while (inputs := read(sys.stdin.buffer)) is not None:
            outputs = network(*inputs)
            found = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
            write(answers, found[0] if len(found) == 1 else found)


if __name__ == "__main__":
    main()
