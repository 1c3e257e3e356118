"""Torch networks as OpenVINO models: converted, named after torch's modules, written, read and run."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.backends.flat import by_argument
from sparsebench.backends.openvino.graph import core, ov, weight_port
from sparsebench.backends.outside_torch import ExportedNetwork
from sparsebench.backends.profiling import OperatorTime, Role, median_over
from sparsebench.errors import reason
from sparsebench.quantization import failing_as, plain_attention, quiet_runtimes
from sparsebench.store.scratch import scratch
from sparsebench.tensors import flattened

XML, BIN = "model.xml", "model.bin"

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_COUNTED = re.compile(r"^[A-Za-z]+_\d+(?=$|[/.])")
"""A name that OpenVINO made up from a type and a count of all operations that the process has built so far."""


def to_openvino(net: nn.Module, example: tuple[Tensor, ...]) -> ov.Model:
    """Convert a float network, with any number of samples in a batch.

    Args:
        net: a copy on the CPU, in evaluation mode.
        example: positional arguments of one forward pass.

    Returns:
        A model whose operations bear the names of torch's modules, as far as they can be told.

    Raises:
        QuantizationError: where the network cannot be converted, or branches on its data.
    """
    shapes = [ov.PartialShape([-1, *value.shape[1:]]) for value in example]
    told: list[warnings.WarningMessage] = []
    refused = failing_as(f"OpenVINO cannot convert {type(net).__name__}", "Replace what it names.", _told)
    with refused, quiet_runtimes(told), torch.no_grad(), plain_attention():
        model = ov.convert_model(net, example_input=example, input=shapes)
    if any(_is_branch(warning) for warning in told):
        _require_no_branch(net, example)
    _name_after_modules(model, net)
    _name_after_weights(model)
    model.set_friendly_name(type(net).__name__)
    return model


def write(model: ov.Model, half: bool = False) -> tuple[bytes, bytes]:
    """Return a model as its two files, graph and weights. The same model gives the same bytes in every process.

    Args:
        model: the model; operations that OpenVINO numbered by a process-wide count are named by their place in it.
        half: whether float weights are stored in 16 bits.
    """
    for number, operation in enumerate(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if _COUNTED.match(name):
            operation.set_friendly_name(_COUNTED.sub(f"{operation.get_type_name()}.{number}", name))
    with scratch() as folder:
        xml, weights = folder / XML, folder / BIN
        ov.save_model(model, xml, compress_to_fp16=half)
        return xml.read_bytes(), weights.read_bytes()


def read(xml: bytes, weights: bytes) -> ov.Model:
    """Return the model that ``write`` wrote.

    Raises:
        QuantizationError: where these are no such files.
    """
    with failing_as("These files are no model that OpenVINO can read", "Compress the network again."):
        return core().read_model(xml, weights)


class OpenVINONetwork(ExportedNetwork):
    """Runs a model on the CPU, one inference at a time.

    Inputs are read where torch holds them; outputs are copied, because the next inference overwrites them.

    Args:
        xml: the model's graph.
        weights: the model's weights.
        settings: properties with which it is compiled.
        shapes: the only shapes that inputs will have, -1 for an open length; None leaves the number of samples open.
    """

    runtime = "OpenVINO"
    unloaded = ("_compiled", "_request", "_outputs")

    def __init__(
        self, xml: bytes, weights: bytes, settings: Mapping[str, Any], shapes: Sequence[Sequence[int]] | None = None
    ) -> None:
        super().__init__()
        self.xml, self.weights = xml, weights
        self.settings, self.shapes = dict(settings), shapes
        self.load()

    def load(self) -> None:
        """Compile the model."""
        model = read(self.xml, self.weights)
        if self.shapes is not None:
            model.reshape(dict(enumerate(self.shapes)))
        with failing_as("OpenVINO cannot run this network", "Choose another scheme or backend.", _last_line):
            self._compiled = core().compile_model(model, "CPU", self.settings)
        self._request = self._compiled.create_infer_request()
        self._outputs = range(len(self._compiled.outputs))

    def graph(self) -> ov.Model:
        """Return the graph that runs, as the plugin fused and typed it."""
        return self._compiled.get_runtime_model()

    def require_inputs(self, example: tuple[Tensor, ...]) -> None:
        """Check that the network takes such inputs.

        Raises:
            QuantizationError: where it does not.
        """
        wanted = [value.get_partial_shape() for value in self._compiled.inputs]
        fit = [shape.compatible(ov.PartialShape(value.shape)) for shape, value in zip(wanted, example, strict=False)]
        if len(wanted) != len(example) or not all(fit):
            raise self.refused_of(wanted, example)

    def forward(self, *arguments: Any) -> Tensor | tuple[Tensor, ...]:
        """Return what the network computes for tensors (N, …), also such in tuples, lists and mappings.

        Raises:
            QuantizationError: where OpenVINO does not take the inputs.
        """
        inputs = flattened(arguments)
        request = self._request
        try:
            # The tensors hold on to torch's memory until the next call.
            for number, value in enumerate(inputs):
                request.set_input_tensor(number, ov.Tensor(value.detach().contiguous().numpy(), shared_memory=True))
            request.infer()
        except (RuntimeError, TypeError) as error:
            raise self.refused(inputs, error) from error
        outputs = tuple(torch.from_numpy(request.get_output_tensor(number).data).clone() for number in self._outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def profile(self, inputs: tuple[Any, ...], calls: int) -> tuple[OperatorTime, ...]:
        """Return where the time of one call goes, as OpenVINO's profiler tells it."""
        own = OpenVINONetwork(self.xml, self.weights, self.settings | {"PERF_COUNT": True}, self.shapes)
        told = []
        for number in range(2 * calls):
            own(*inputs)
            if number >= calls:
                ran = (one for one in own._request.profiling_info if one.status.name == "EXECUTED")
                told.append(
                    [
                        ((one.node_name, one.node_type, one.exec_type), 1e6 * one.real_time.total_seconds())
                        for one in ran
                    ]
                )
        return tuple(
            OperatorTime(_layer(name), operator, microseconds, _format(operator, kernel), _role(operator), times)
            for (name, operator, kernel), (microseconds, times) in median_over(told).items()
        )


_CONVERTING = ("Reorder", "Convert", "Transpose", "FakeQuantize")
_MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell", "MHA")
_KERNELS = {"I8": "int8", "U8": "int8", "BF16": "bf16", "F16": "fp16"}


def _role(operator: str) -> Role:
    if operator in _MULTIPLYING:
        return "layer"
    return "conversion" if operator in _CONVERTING else "other"


def _format(operator: str, kernel: str) -> str:
    return _KERNELS.get(kernel.rpartition("_")[2].upper(), "fp32") if _role(operator) == "layer" else ""


def _layer(name: str) -> str:
    """Return the path of the module in the name of an operation, or the name."""
    return name.removeprefix("__module.").partition("/")[0] if name.startswith("__module.") else name


def _is_branch(warning: warnings.WarningMessage) -> bool:
    """Whether a tensor became a number where the network was followed; torch's own layers do so with shapes only."""
    return (
        warning.category.__name__ == "TracerWarning"
        and str(warning.message).startswith("Converting a tensor to")
        and not Path(warning.filename).is_relative_to(Path(torch.__file__).parent)
    )


def _last_line(error: Exception) -> str:
    """Return what went wrong; before it OpenVINO says through which of its files it came."""
    line = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), reason(error))
    return line if line.endswith(".") else f"{line}."


def _told(error: Exception) -> str:
    """Return the line that says what could not be converted, of the many that OpenVINO gives."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = next((line for line in lines if line.startswith(("-- ", "No conversion rule"))), None)
    line = (found or reason(error)).removeprefix("-- ").removesuffix(" with a message:")
    return line if line.endswith(".") else f"{line}."


def _require_no_branch(net: nn.Module, example: tuple[Tensor, ...]) -> None:
    """Refuse a network whose branches depend on its data: OpenVINO follows one pass, and would keep that branch.

    It warns of branches on shapes as well, which do no harm. torch.export tells one from the other.
    """
    dynamic = by_argument(net, tuple({0: torch.export.Dim.DYNAMIC} for _ in example))
    problem = (
        f"OpenVINO cannot take {type(net).__name__}: its forward pass branches on its data, of which OpenVINO would "
        "keep one branch. torch.export says"
    )
    with (
        failing_as(problem, "Write the branch with torch.where."),
        quiet_runtimes(),
        torch.no_grad(),
        plain_attention(),
    ):
        dynamic = dynamic if len(example[0]) > 1 else None
        try:
            torch.export.export(net, example, dynamic_shapes=dynamic)
        except Exception as first:
            try:
                # This way is slower, and follows what Python makes of a shape, such as its length.
                torch.export.export(net, example, dynamic_shapes=dynamic, strict=True)
            except Exception:
                raise first from None


def _name_after_modules(model: ov.Model, net: nn.Module) -> None:
    """Name convolutions that took in a batch normalisation, and with it a new name, after their module again.

    The normalisation scales each output channel of the weights. A convolution is recognised by weights that are those
    of a module but for such factors.
    """
    left = {
        name: module.weight.detach().double().flatten(1).numpy()
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    }
    for operation, constant in _unnamed_layers(model):
        if operation.get_type_name() not in _CONVOLUTIONS or constant.get_type_name() != "Constant":
            continue
        weights = np.asarray(constant.data, dtype=np.float64)
        channels = weights.shape[0] * weights.shape[1] if "Group" in operation.get_type_name() else weights.shape[0]
        rows = weights.reshape(channels, -1)
        name = next((name for name, of in left.items() if of.shape == rows.shape and _proportional(of, rows)), None)
        if name is not None:
            del left[name]
            operation.set_friendly_name(f"__module.{name}/aten::_convolution/{operation.get_type_name()}")
            constant.set_friendly_name(f"self.{name}.weight")


def _name_after_weights(model: ov.Model) -> None:
    """Name layers that are functions, not modules, after their weights."""
    for operation, held in _unnamed_layers(model):
        weights = str(held.get_friendly_name())
        if weights.startswith("self."):
            name = weights.removeprefix("self.").removesuffix(".weight")
            operation.set_friendly_name(f"__module.{name}/{operation.get_type_name()}")


def _unnamed_layers(model: ov.Model) -> Iterator[tuple[Any, Any]]:
    """Yield each layer that is not named after a module, with what holds its weights."""
    for operation in model.get_ordered_ops():
        port = weight_port(operation)
        if port is not None and not operation.get_friendly_name().startswith("__module."):
            yield operation, operation.input_value(port).get_node()


def _proportional(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Whether each row of ``a`` is the same row of ``b`` times a factor, as far as float32 tells."""
    products, lengths = (a * b).sum(1) ** 2, (a * a).sum(1) * (b * b).sum(1)
    return bool(np.all(products >= (1 - 1e-5) * lengths)) and bool(lengths.any() or not (a.any() or b.any()))
