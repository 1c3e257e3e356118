"""What runs each kind of exported file, and the code that does it, as a model card shows it."""

from sparsebench.points.exportable import WEIGHTS

RUNTIMES = {
    "onnx": ("ONNX Runtime", ("onnxruntime",)),
    "openvino": ("OpenVINO", ("openvino",)),
    "tflite": ("LiteRT", ("ai-edge-litert",)),
    "pt2": ("PyTorch", ("torch",)),
    WEIGHTS: ("PyTorch, as the weights of its class", ("torch", "safetensors", "sparsebench")),
}

SNIPPETS = {
    "onnx": """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
inputs = [{zeros}]
names = [value.name for value in session.get_inputs()]
scores = session.run(None, dict(zip(names, inputs)))[0]
print(scores.shape)
""",
    "openvino": """\
import numpy as np
import openvino

network = openvino.Core().compile_model({file!r}, "CPU", {settings!r})
inputs = [{zeros}]
scores = network(inputs)[0]
print(scores.shape)
""",
    "tflite": """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

network = Interpreter(model_path={file!r})
network.allocate_tensors()
inputs = [{zeros}]
for told, values in zip(network.get_input_details(), inputs):
    scale, zero = told["quantization"]
    if scale:  # It takes int8.
        values = np.clip(np.rint(values / scale) + zero, -128, 127)
    network.set_tensor(told["index"], values.astype(told["dtype"]))
network.invoke()
told = network.get_output_details()[0]
scale, zero = told["quantization"]
scores = network.get_tensor(told["index"])
if scale:
    scores = scale * (scores.astype(np.float32) - zero)
print(scores.shape)
""",
    "pt2": """\
import torch
{imports}
network = torch.export.load({file!r}).module()
inputs = [{zeros}]
with torch.no_grad():
    scores = network(*inputs)
print(tuple(scores.shape))
""",
    WEIGHTS: """\
import torch
from safetensors.torch import load_model
from sparsebench.models import build_model

network = build_model({model!r}, {classes}, {sample}, {options!r}).eval()
load_model(network, {file!r})
inputs = {structure}
with torch.no_grad():
    scores = network(*inputs)
print(tuple(scores.shape))
""",
}

OF_NUMPY = ("onnx", "openvino", "tflite")
"""Formats whose runtimes take arrays of NumPy."""
