"""Networks of transformers by name or folder, ``transformers:NAME``: built from their config, with or without weights.

No code of a hub or of a folder is run, and no pickle read: configs are JSON, weights are safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparsebench.errors import ModelError
from sparsebench.hub import PREFIX, asked_of_the_hub, folder_of, library
from sparsebench.registry import unknown_name
from sparsebench.wording.text import listing

if TYPE_CHECKING:
    from torch import Tensor, nn

TASKS = {"image": "ImageClassification", "text": "SequenceClassification", "audio": "AudioClassification"}
"""What networks classify, and how classes of transformers call it."""

_MAPPINGS = {
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "text": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
}
_ATTENTION = (None, "eager", "sdpa")
"""Attention may be named in a config that downloads compiled code; these are transformers' own."""

_WHERE_FROM = ("revision", "cache_dir")


class TransformersNetwork:
    """A classification network of transformers (Hugging Face), such as transformers:google/vit-base-patch16-224.

    It classifies images, texts or sounds, as its config says (pip install sparsebench[transformers]).

    Args:
        name: a name of the hub, or a folder that holds ``config.json``, written as ``./folder``.

    Raises:
        ModelError: where transformers is not installed, or there is no such folder.
    """

    def __init__(self, name: str) -> None:
        self.name, self.label = name, f"{PREFIX}{name}"
        self._transformers = library("transformers", self.label, ModelError)
        folder = folder_of(name)
        if folder is not None and not (folder / "config.json").is_file():
            raise ModelError(
                f"{self.label} is no folder with a config.json; give one that save_pretrained has written, or the name "
                "of a network on the Hugging Face hub."
            )
        self._place = name if folder is None else str(folder)
        self._local = folder is not None

    def __call__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...] = (),  # noqa: ARG002 - what other networks are fitted to
        task: str | None = None,
        revision: str | None = None,
        cache_dir: str | None = None,
        **options: Any,
    ) -> nn.Module:
        """Build the network with fresh weights.

        Args:
            num_classes: how many classes it tells apart.
            input_shape: of no effect: samples are made to fit the network, by its processor.
            task: "image", "text" or "audio", where the config leaves open what is classified.
            revision: branch, tag or commit on the hub; the main branch by default.
            cache_dir: folder for what is downloaded; that of Hugging Face by default.
            options: entries of the config in place of its own, such as ``num_hidden_layers``.

        Raises:
            ModelError: where the config cannot be had, does not take the options or is of another task.
        """
        where = {"revision": revision, "cache_dir": cache_dir}
        config = self._config({"num_labels": num_classes, **options}, where)
        return self._built(self._class(config, task), config)

    def published(self, weights: str, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> dict[str, Tensor]:  # noqa: ARG002 - what other providers need
        """Return the state dict that lies beside the config, downloaded unless it is in the cache; safetensors alone.

        The classifier is as it was published. What the files lack, such as the classifier of a network that was trained
        without one, is left out.

        Raises:
            ModelError: where there are no such weights.
        """
        if weights != "DEFAULT":
            raise ModelError(f"{weights!r} is not known; weights of {self.label} are chosen by the option revision.")
        where = {key: options.get(key) for key in _WHERE_FROM}
        own = {key: value for key, value in options.items() if key not in (*_WHERE_FROM, "task", "num_labels")}
        config = self._config(own, where)
        remedy = (
            "They must be safetensors (network.save_pretrained writes them): pickles are not read. Download them where "
            "there is a network, and name their folder as transformers:./FOLDER."
        )
        with asked_of_the_hub(f"The weights of {self.label}", remedy, ModelError):
            network, told = self._class(config, options.get("task")).from_pretrained(
                self._place,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype="float32",
                local_files_only=self._local,
                **where,
            )
        fresh = {*told["missing_keys"], *(entry[0] for entry in told.get("mismatched_keys", ()))}
        return {key: value for key, value in network.state_dict().items() if key not in fresh}

    def _config(self, options: Mapping[str, Any], where: Mapping[str, Any]) -> Any:
        remedy = (
            "Correct it, or the options."
            if self._local
            else "Correct the name; or download it where there is a network, and name its folder transformers:./FOLDER."
        )
        with asked_of_the_hub(f"The config of {self.label}", remedy, ModelError):
            config, unused = self._transformers.AutoConfig.from_pretrained(
                self._place,
                trust_remote_code=False,
                return_unused_kwargs=True,
                local_files_only=self._local,
                **where,
                **options,
            )
        if strange := sorted({*unused} - {*_WHERE_FROM, "local_files_only", "trust_remote_code"}):
            known = {key for key in config.to_dict() if not key.startswith("_")}
            raise ModelError(" ".join(unknown_name(f"Option of {self.label}", key, known) for key in strange))
        attention = getattr(config, "_attn_implementation", None)
        if attention not in _ATTENTION:
            raise ModelError(
                f"The config of {self.label} asks for the attention {attention!r}, which may be code from elsewhere "
                "and is not run; set attn_implementation to 'sdpa' or 'eager' in it."
            )
        return config

    def _class(self, config: Any, task: str | None) -> Any:
        """Return the class of the network: by the task, the architecture that the config names, or what it can do."""
        known = library("transformers.models.auto.modeling_auto", self.label, ModelError)
        able = [one for one, mapping in _MAPPINGS.items() if config.model_type in getattr(known, mapping)]
        told = " ".join(config.architectures or ())
        named = [one for one in able if TASKS[one] in told]
        chosen = [task] if task else named if len(named) == 1 else able
        if task and task not in TASKS:
            raise ModelError(unknown_name("task", task, TASKS))
        if not able or (task and task not in able):
            raise ModelError(
                f"{self.label} is {config.model_type!r}, of which transformers has no network for "
                f"{TASKS[task] if task else ', '.join(TASKS.values())}"
                f"{f'; it has one for {listing([TASKS[one] for one in able])}' * bool(able)}. Choose another network."
            )
        if len(chosen) > 1:
            raise ModelError(
                f"{self.label} can classify {listing(able)}; set the option task to one of them in model.options."
            )
        return getattr(self._transformers, f"AutoModelFor{TASKS[chosen[0]]}")

    def _built(self, kind: Any, config: Any) -> nn.Module:
        import torch

        remedy = "Correct the options, or the config."
        with asked_of_the_hub(f"{self.label} of these options", remedy, ModelError):
            network: nn.Module = kind.from_config(config, trust_remote_code=False, dtype=torch.float32)
        return network
