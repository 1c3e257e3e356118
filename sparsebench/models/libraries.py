"""Networks of torchvision and timm (PyTorch Image Models) by name, ``timm:resnet18``, with their published weights."""

from collections.abc import Iterable, Mapping
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
            raise UnknownNameError(
                f"torchvision has no classification network {name!r}.{_suggestion('torchvision', name, known)} "
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
        return {key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2.", "AuxLogits."))}


class TimmNetwork:
    """Any network of timm, such as timm:resnet18 (pip install sparsebench[timm]).

    Args:
        name: as timm names it; a tag of weights may follow, as in ``resnet18.a1_in1k``.

    Raises:
        ModelError: where timm is not installed.
        UnknownNameError: where timm has no such network or tag.
    """

    def __init__(self, name: str) -> None:
        try:
            import timm
        except ImportError as error:
            raise ModelError(
                f"timm:{name} needs timm, which is not installed: pip install sparsebench[timm]"
            ) from error
        architecture, _, tag = name.partition(".")
        if not timm.is_model(architecture):
            raise UnknownNameError(
                f"timm has no network {architecture!r}.{_suggestion('timm', architecture, timm.list_models())} "
                "timm.list_models() lists them."
            )
        tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise UnknownNameError(
                f"timm:{architecture} has no weights tagged {tag!r}. Allowed: {', '.join(tags) or 'none'}."
            )
        self.name = name

    def __call__(self, num_classes: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
        """Build the network with fresh weights for images (C, H, W); options are those of ``timm.create_model``.

        Raises:
            ModelError: where timm cannot build it for such images, or does not take the options.
        """
        return self._build(input_shape, {"num_classes": num_classes, **options})

    def published(self, weights: str, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Download published weights, or take them from the cache, and return their state dict.

        They are ``DEFAULT``; others are chosen by the tag in the network's name. The first layer is fitted to the
        channels of the images, (C, H, W), and the classifier is as it was published.

        Raises:
            ModelError: where they cannot be downloaded.
        """
        if weights != "DEFAULT":
            raise ModelError(
                f"{weights!r} is not known; weights of timm are chosen by the network's name: "
                f"timm:{self.name.partition('.')[0]}.TAG with weights = 'pretrained'."
            )
        options = {key: value for key, value in options.items() if key != "num_classes"}
        with download_in_words(f"The weights of timm:{self.name}"):
            return dict(self._build(input_shape, {"pretrained": True, **options}).state_dict())

    def _build(self, input_shape: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
        import timm

        channels, height, width = image_shape(f"timm:{self.name}", input_shape, smallest_side=1)
        own: dict[str, Any] = {"in_chans": channels}
        config = timm.get_pretrained_cfg(self.name)
        if config is not None and config.fixed_input_size and tuple(config.input_size[1:]) != (height, width):
            own["img_size"] = (height, width)
        try:
            network: nn.Module = timm.create_model(self.name, **own | options)
        except (TypeError, ValueError, AssertionError) as error:
            raise ModelError(f"timm:{self.name} cannot be built for {tuple(input_shape)}: {error}") from error
        return network


def _suggestion(library: str, name: str, known: Iterable[str]) -> str:
    guess = nearest(name, known)
    return f" Did you mean '{library}:{guess}'?" if guess else ""
