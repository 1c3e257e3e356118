"""Linear layers for vectors, and for anything else as one."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from sparsebench.errors import ModelError


def mlp(num_classes: int, input_shape: tuple[int, ...], hidden: Sequence[int] = (64, 64)) -> nn.Sequential:
    """Linear layers for vectors and tables; samples of other shapes are flattened.

    Args:
        num_classes: number of classes.
        input_shape: shape of one sample.
        hidden: outputs of each layer but the last, which are followed by ReLU.

    Returns:
        A network that maps samples (N, *input_shape) to logits (N, num_classes).

    Raises:
        ModelError: where a sample has no values, or a layer no outputs.
    """
    sizes = [math.prod(input_shape) if input_shape else 0, *hidden]
    if min(sizes) < 1:
        raise ModelError(f"mlp cannot be built for samples of shape {input_shape} with hidden = {list(hidden)}.")
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))
