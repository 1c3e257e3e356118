"""What somebody writes who knows NNCF and OpenVINO and needs no sparsebench: the yardstick of perf_backends.py."""

from pathlib import Path

import nncf
import openvino as ov
import torch


def quantize(net: torch.nn.Module, batches: list[torch.Tensor], path: Path) -> None:
    """Convert a network, calibrate it on ``batches`` and save it."""
    model = ov.convert_model(net, example_input=batches[0][:1], input=[-1, *batches[0].shape[1:]])
    data = nncf.Dataset(batches, lambda batch: batch.numpy())
    ov.save_model(nncf.quantize(model, data, subset_size=len(batches)), path, compress_to_fp16=False)


def load(path: Path, inputs: torch.Tensor, threads: int):
    """Return a function that runs the saved network once on ``inputs``."""
    core = ov.Core()
    model = core.read_model(path)
    model.reshape(list(inputs.shape))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    array = inputs.numpy()

    def run():
        request.infer([array], share_inputs=True, share_outputs=True)
        return request.get_output_tensor().data

    return run
