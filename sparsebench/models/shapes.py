"""Samples that a network can take, checked before it is built."""

from collections.abc import Sequence

from sparsebench.errors import ModelError


def image_shape(model: str, input_shape: Sequence[int], smallest_side: int) -> tuple[int, int, int]:
    """Return (C, H, W) of the images that a network shall take.

    Args:
        model: name of the network, for the error.
        input_shape: shape of one sample, without the batch.
        smallest_side: the least H and W that it works with.

    Raises:
        ModelError: where the shape is not that of such an image.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or min(shape[1:]) < smallest_side:
        raise ModelError(
            f"{model} takes images of shape (C, H, W) with H and W at least {smallest_side}, not samples of shape "
            f"{shape}; choose a model for such data, or give your own as 'package.module:callable'."
        )
    return shape[0], shape[1], shape[2]
