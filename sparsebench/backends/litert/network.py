"""Torch networks as files of LiteRT, and such files as modules of torch, run by XNNPACK."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.backends.litert import files
from sparsebench.backends.litert.converter import converted
from sparsebench.backends.outside_torch import ExportedNetwork
from sparsebench.backends.profiling import OperatorTime
from sparsebench.errors import QuantizationError
from sparsebench.quantization import failing_as, float_copy, plain_attention, quiet_runtimes
from sparsebench.tensors import cloned, flattened

with quiet_runtimes():
    from ai_edge_litert.interpreter import Interpreter

SAME = 1e-5
"""Largest difference between samples that run together and one by one, as a fraction of the largest output."""

_SAMPLES = 3


def to_litert(net: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """Return a float network as a file, which takes any number of samples where that can be.

    Args:
        net: the network; it is left as it is.
        example: positional arguments of one forward pass.

    Raises:
        QuantizationError: where torch cannot export the network, or LiteRT not convert it.
    """
    net = float_copy(net)
    one = tuple(value[:1] for value in example)
    name = type(net).__name__
    remedy = "Where it branches on its data, write the branch with torch.where; otherwise replace what is named."
    with failing_as(f"torch cannot export {name}", remedy), quiet_runtimes(), torch.no_grad(), plain_attention():
        program = torch.export.export(net, cloned(one))
    file = files.named(converted(program, name), net)
    many = tuple(torch.cat([value] * _SAMPLES)[:_SAMPLES] for value in example)
    wanted = flattened((LiteRTNetwork(file, 1)(*many),))
    for candidate in files.opened(file):
        try:
            found = flattened((LiteRTNetwork(candidate, 1)(*many),))
        except QuantizationError:
            continue
        if all(_same(one, other) for one, other in zip(wanted, found, strict=True)):
            return candidate
    return file


def _same(wanted: Tensor, found: Tensor) -> bool:
    if wanted.shape != found.shape:
        return False
    scale = float(wanted.double().abs().max()) if wanted.numel() else 0.0
    return torch.allclose(wanted.double(), found.double(), rtol=0.0, atol=SAME * max(scale, 1e-6), equal_nan=True)


class LiteRTNetwork(ExportedNetwork):
    """Runs a file on the CPU.

    What goes in is rounded to int8 where the file takes int8, and what comes out is given in float again. A file that
    takes one sample is run once for each.

    Args:
        file: the file.
        threads: threads inside one operation.
        samples: the only number of samples that inputs will have; None leaves it open.
    """

    runtime = "LiteRT"
    unloaded = ("_interpreter", "_inputs", "_outputs", "_places", "_together", "_ready_for")

    def __init__(self, file: bytes, threads: int, samples: int | None = None) -> None:
        super().__init__()
        self.file, self.threads, self.samples = file, threads, samples
        self.load()

    def load(self) -> None:
        """Make an interpreter, which plans what runs where."""
        model = files.read(self.file)
        (signature,) = model.signatureDefs
        self._together = model.description == files.ANY
        with failing_as("LiteRT cannot run this network", "Choose another scheme or backend."), quiet_stderr():
            self._interpreter = Interpreter(model_content=self.file, num_threads=self.threads)
            self._interpreter.allocate_tensors()
        self._inputs = _in_order(self._interpreter.get_input_details(), signature.inputs)
        self._outputs = _in_order(self._interpreter.get_output_details(), signature.outputs)
        graph = files.graph_of(model)
        self._places = [int(n) for n in graph.inputs], [int(n) for n in graph.outputs]
        self._ready_for = 1
        if self.samples is not None and self._together:
            self._get_ready(self.samples)

    @property
    def in_int8(self) -> bool:
        """Whether what it returns lies on a grid of int8."""
        return any(told["dtype"].__name__ == "int8" for told in self._outputs)

    def given(self, inputs: tuple[Tensor, ...]) -> list[Any]:
        """Return inputs as arrays that the file takes, in the order of the file."""
        by_place = {told["index"]: _given(v.detach(), told) for told, v in zip(self._inputs, inputs, strict=True)}
        return [by_place[place].contiguous().numpy() for place in self._places[0]]

    def taken(self, arrays: Sequence[Any]) -> tuple[Tensor, ...]:
        """Return what the file gave out, in its own order, as ``forward`` does."""
        by_place = dict(zip(self._places[1], arrays, strict=True))
        return tuple(_taken(torch.from_numpy(by_place[told["index"]]), told) for told in self._outputs)

    def require_inputs(self, example: tuple[Tensor, ...]) -> None:
        """Check that the network takes such inputs.

        Raises:
            QuantizationError: where it does not.
        """
        wanted = [tuple(one["shape"]) for one in self._inputs]
        if [shape[1:] for shape in wanted] != [tuple(value.shape[1:]) for value in example]:
            raise self.refused_of([f"({', '.join(['N', *map(str, shape[1:])])})" for shape in wanted], example)

    def forward(self, *arguments: Any) -> Tensor | tuple[Tensor, ...]:
        """Return what the network computes for tensors (N, …), also such in tuples, lists and mappings.

        Raises:
            QuantizationError: where LiteRT does not take the inputs.
        """
        inputs = flattened(arguments)
        samples = len(inputs[0])
        try:
            if self.samples not in (None, samples):
                raise ValueError(f"it was made ready for {self.samples} samples.")
            if self._together or samples == 1:
                outputs = self._run(inputs, samples)
            else:
                each = [self._run(tuple(v[n : n + 1] for v in inputs), 1) for n in range(samples)]
                outputs = tuple(torch.cat(values) for values in zip(*each, strict=True))
        except (RuntimeError, ValueError, TypeError) as error:
            raise self.refused(inputs, error) from error
        return outputs if len(outputs) > 1 else outputs[0]

    def profile(self, inputs: tuple[Any, ...], calls: int) -> tuple[OperatorTime, ...]:  # noqa: ARG002
        """Refuse to tell where the time goes.

        Raises:
            QuantizationError: always.
        """
        raise QuantizationError(
            "LiteRT tells Python no times of single operators, so that its networks cannot be explained; compare them "
            "on another backend."
        )

    def _run(self, inputs: tuple[Tensor, ...], samples: int) -> tuple[Tensor, ...]:
        interpreter = self._interpreter
        if samples != self._ready_for:
            self._get_ready(samples)
        for told, value in zip(self._inputs, inputs, strict=True):
            interpreter.set_tensor(told["index"], _given(value.detach(), told).contiguous().numpy())
        interpreter.invoke()
        return tuple(_taken(torch.from_numpy(interpreter.get_tensor(told["index"])), told) for told in self._outputs)

    def _get_ready(self, samples: int) -> None:
        for told in self._inputs:
            self._interpreter.resize_tensor_input(told["index"], [samples, *told["shape"][1:]])
        self._interpreter.allocate_tensors()
        self._ready_for = samples


def _in_order(details: Sequence[dict[str, Any]], told: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what the interpreter tells of inputs or outputs in the order of torch's arguments.

    The converter calls them ``args_0``, ``args_1``, …, and may have sorted them otherwise.
    """
    places = {one["index"]: one for one in details}
    in_order = sorted(told, key=lambda one: int(one.name.decode().rpartition("_")[2]))
    return [places[one.tensorIndex] for one in in_order]


def _given(value: Tensor, told: dict[str, Any]) -> Tensor:
    """Return an input as the file takes it: rounded to its grid, or integers in as many bits."""
    wanted = _DTYPES.get(told["dtype"].__name__)
    if wanted is None or value.dtype == wanted:
        return value
    if value.is_floating_point() and wanted in (torch.int8, torch.uint8):
        scale, zero = told["quantization"]
        limits = torch.iinfo(wanted)
        return value.div(scale).round_().add_(zero).clamp_(limits.min, limits.max).to(wanted)
    if not value.is_floating_point() and not wanted.is_floating_point:
        return value.to(wanted)
    return value


def _taken(value: Tensor, told: dict[str, Any]) -> Tensor:
    scale, zero = told["quantization"]
    return (
        value.to(torch.float32).sub_(zero).mul_(scale) if value.dtype in (torch.int8, torch.uint8) and scale else value
    )


_DTYPES = {
    name: getattr(torch, name) for name in ("float32", "int8", "uint8", "int16", "int32", "int64", "float16", "bool")
}


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what libraries in C++ write from the terminal: LiteRT says there that it makes a delegate."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
