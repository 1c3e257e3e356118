"""A model of OpenVINO as a module of torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparsebench.backends.openvino.export import read
from sparsebench.backends.openvino.runtime import core, ov
from sparsebench.backends.outside_torch import ExportedNetwork


class OpenVINONetwork(ExportedNetwork):
    """Runs a model on the CPU, one inference at a time.

    Inputs are read where torch holds them; outputs are copied, because the next inference overwrites them.

    Args:
        xml: the model's graph.
        weights: the model's weights.
        settings: properties with which it is compiled.
        shapes: the only shapes that inputs will have; None leaves the number of samples open.
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

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what the network computes for tensors (N, …).

        Raises:
            QuantizationError: where OpenVINO does not take the inputs.
        """
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
