"""2:4 sparse weights of Linear layers in float16, skipped by the sparse tensor cores of a GPU. No calibration."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured

from sparsebench.errors import QuantizationError, reason
from sparsebench.quantization.base import float_copy, quiet_libraries
from sparsebench.quantization.floats import InPrecision


class Sparse24:
    """Linear layers pruned 2:4 (pruner ``n_m``) in torch's semi-structured form, everything in float16; GPU only."""

    name = "sparse_2_4"

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:  # noqa: ARG002 # a GPU computes it
        """Return a copy of ``net`` in float16, on the CPU, in evaluation mode.

        Raises:
            QuantizationError: where no Linear layer has at most two non-zero weights in every four.
        """
        copied = float_copy(net)
        if not any(isinstance(layer, nn.Linear) and is_2_4(layer.weight) for layer in copied.modules()):
            raise QuantizationError(
                f"No Linear layer of {type(net).__name__} is pruned 2:4. Train it with the pruner n_m (n = 2, m = 4), "
                "with include_classifier where its only Linear is the classifier; convolutions have no such kernels."
            )
        return InPrecision(copied, torch.float16)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return the network with the weights of fitting Linear layers in semi-structured form.

        Args:
            prepared: what ``prepare`` returned, moved to a GPU with sparse tensor cores.

        Raises:
            QuantizationError: where no weight has a shape that the kernels take.
        """
        linear = [(name, layer) for name, layer in prepared.named_modules() if isinstance(layer, nn.Linear)]
        fitting = {name: layer for name, layer in linear if is_2_4(layer.weight)}
        refused = []
        with quiet_libraries():
            for name, layer in fitting.items():
                try:
                    sparse = to_sparse_semi_structured(layer.weight.detach())
                except (RuntimeError, ValueError) as error:
                    refused.append(f"{name}: {reason(error)}")
                else:
                    layer.weight = nn.Parameter(sparse, requires_grad=False)
        if len(refused) == len(fitting):
            raise QuantizationError(
                f"No Linear layer could be brought into the 2:4 form ({' '.join(refused[:3])}). The kernels need a GPU "
                "of compute capability 8.0 or higher, and rows and columns in multiples of 32 and 64."
            )
        return prepared


def is_2_4(weight: Tensor) -> bool:
    """Whether each four consecutive inputs of every row of ``weight`` (out, in) have at most two that are not zero."""
    return weight.shape[-1] % 4 == 0 and bool(((weight.reshape(-1, 4) != 0).sum(1) <= 2).all())
