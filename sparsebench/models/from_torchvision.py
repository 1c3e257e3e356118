"""Classification networks of torchvision by name, ``torchvision:resnet18``, with their published weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision import models

from sparsebench.errors import ModelError, UnknownNameError
from sparsebench.models import download_in_words, image_shape
from sparsebench.registry import nearest, unknown_name

_AUXILIARY = ("googlenet", "inception_v3")
"""Networks that give out several logits while training, unless told not to."""


class TorchvisionNetwork:
    """Any classification network of torchvision, such as torchvision:resnet18.

    Args:
        name: as ``torchvision.models`` names it.

    Raises:
        UnknownNameError: where torchvision has no such classification network.
    """

    def __init__(self, name: str) -> None:
        known = models.list_models(module=models)
        if name not in known:
            guess = nearest(name, known)
            suggestion = f" Did you mean 'torchvision:{guess}'?" if guess else ""
            raise UnknownNameError(
                f"torchvision has no classification network {name!r}.{suggestion} "
                "torchvision.models.list_models() lists them."
            )
        self.name = name

    def __call__(self, num_classes: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
        """Build the network with fresh weights for images (3, H, W); options are those of the network in torchvision.

        Raises:
            ModelError: where the images have not 3 channels, or torchvision does not take the options.
        """
        channels, height, width = image_shape(f"torchvision:{self.name}", input_shape, smallest_side=1)
        if channels != 3:
            raise ModelError(
                f"torchvision:{self.name} takes images of 3 channels, not {channels}. Give the dataset the option "
                "channels = 3, where it has one, or choose timm:NAME, whose first layer is fitted to the images."
            )
        own: dict[str, Any] = {"num_classes": num_classes}
        if self.name.startswith("vit_"):
            own["image_size"] = height
        if self.name.startswith("maxvit_"):
            own["input_size"] = (height, width)
        if self.name in _AUXILIARY:
            own |= {"aux_logits": False, "init_weights": True}
        try:
            network: nn.Module = models.get_model(self.name, weights=None, **own | options)
        except (TypeError, ValueError) as error:
            raise ModelError(f"torchvision:{self.name} cannot be built for {input_shape}: {error}") from error
        return network

    def published(self, weights: str, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> dict[str, Tensor]:  # noqa: ARG002 - what other providers need
        """Download published weights, or take them from the cache, and return their state dict.

        They are a member of the network's enumeration of weights, such as ``IMAGENET1K_V2``, or ``DEFAULT``.

        Raises:
            UnknownNameError: where there are no such weights.
            ModelError: where they cannot be downloaded.
        """
        known = models.get_model_weights(self.name)
        member = weights.removeprefix(f"{known.__name__}.")
        if member not in known.__members__:
            raise UnknownNameError(unknown_name(f"Weights of torchvision:{self.name}", weights, known.__members__))
        with download_in_words(f"The weights {known.__name__}.{member}"):
            state = known[member].get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
        heads = tuple(f"{head}." for head in ("aux1", "aux2", "AuxLogits"))
        return {key: value for key, value in state.items() if not key.startswith(heads)}
