"""Networks of timm (PyTorch Image Models) by name, ``timm:resnet18``, with their published weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sparsebench.errors import ModelError, UnknownNameError
from sparsebench.models import download_in_words, image_shape
from sparsebench.registry import nearest


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
            guess = nearest(architecture, timm.list_models())
            suggestion = f" Did you mean 'timm:{guess}'?" if guess else ""
            raise UnknownNameError(f"timm has no network {architecture!r}.{suggestion} timm.list_models() lists them.")
        tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            allowed = ", ".join(tags) or "none"
            raise UnknownNameError(f"timm:{architecture} has no weights tagged {tag!r}. Allowed: {allowed}.")
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
            architecture = self.name.partition(".")[0]
            raise ModelError(
                f"{weights!r} is not known; weights of timm are chosen by the network's name: timm:{architecture}.TAG "
                "with weights = 'pretrained'."
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
