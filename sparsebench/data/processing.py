"""What makes inputs of a network from pictures, texts, sounds and numbers: a processor of transformers, or none."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from sparsebench.data.contents import picture, sound
from sparsebench.errors import DataError
from sparsebench.hub import OF_NETWORK, PREFIX, PROCESSOR, asked_of_the_hub, folder_of, library
from sparsebench.wording.text import counted

Kind = Literal["pictures", "texts", "sounds", "numbers"]
Inputs = Tensor | dict[str, Tensor]
"""Of a batch: (N, …), or such tensors by name."""

AUTO = {"pictures": "AutoImageProcessor", "texts": "AutoTokenizer", "sounds": "AutoFeatureExtractor"}

_LONGEST = 512
"""Texts are cut to so many tokens, or to fewer where the tokenizer says so, unless told otherwise."""


class Maker(Protocol):
    """Makes inputs of a few samples as they are stored."""

    def __call__(self, stored: Sequence[Any]) -> Inputs:
        """Return the inputs of a batch.

        Raises:
            DataError: where a sample cannot be read, or they do not fit one another.
        """


@dataclass(frozen=True)
class Options:
    """What may be asked of samples, whatever they are stored in.

    Attributes:
        input: the column with the inputs; found by what it holds by default.
        label: the column with the labels; found by its name by default.
        processor: ``transformers:NAME``, which makes inputs of samples; ``network`` for that of the network.
        size: side of the square that images are fitted to, without a processor.
        channels: 3 for colour, 1 for grey, without a processor.
        mean: of each channel, in [0, 1], without a processor; 0.5 by default.
        std: standard deviation of each channel; 0.5 by default.
        tokens: whether whole numbers are indices, such as those of words, and stay whole.
        max_length: tokens to which texts are cut.
        seconds: to which sounds are cut, and filled with silence; as long as the longest by default.
        val_fraction: share of the samples that is held out for validation where no split is there for it.
        test_fraction: share that is held out for testing.
        seed: which samples those are.
        in_memory: whether all inputs are made once; by default where they take up to 2 GiB.
    """

    input: str | None = None
    label: str | None = None
    processor: str | None = None
    size: int | None = None
    channels: int = 3
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    tokens: bool = False
    max_length: int | None = None
    seconds: float | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0
    in_memory: bool | None = None


def maker_of(kind: Kind, options: Options, everything: Sequence[Sequence[Any]]) -> Maker:
    """Return what makes inputs of samples of a kind.

    Args:
        kind: of the samples.
        options: as they are asked for.
        everything: the samples of all splits, for what must be alike in all: texts and sounds get one length, without
            which runtimes of exported networks do not take them.

    Raises:
        DataError: where a processor is missing, cannot be had or an option is not allowed.
    """
    if kind == "numbers" and options.processor is not None:
        kind = "sounds"  # Waves, at the rate that the feature extractor takes.
    processor = _processor(kind, options.processor)
    if kind == "pictures":
        return Pictures(processor, options.size, options.channels, *_statistics(options))
    if kind == "texts":
        return Texts.fitted(processor, options.max_length, everything)
    if kind == "sounds":
        return Sounds.fitted(processor, options.seconds, everything)
    return Numbers(options.tokens)


def _processor(kind: Kind, named: str | None) -> Any:
    if named is None and kind == "texts":
        raise DataError(
            f"Texts need a tokenizer: set the option {PROCESSOR} to '{PREFIX}NAME', or to '{OF_NETWORK}' for that of "
            "the network."
        )
    if named == OF_NETWORK:
        raise DataError(
            f"{PROCESSOR} = '{OF_NETWORK}' stands for that of a network of transformers, and there is none, or more "
            f"than one. Name it here: '{PREFIX}NAME'."
        )
    if named is None:
        return None
    if not named.startswith(PREFIX):
        raise DataError(f"{PROCESSOR} is {named!r}; write '{PREFIX}NAME' or '{PREFIX}./FOLDER'.")
    transformers = library("transformers", named, DataError)
    name = named.removeprefix(PREFIX)
    folder = folder_of(name)
    remedy = (
        "Name a folder or a network that has one, or leave the option out."
        if folder or kind == "texts"
        else "Download it where there is a network, and name its folder: transformers:./FOLDER."
    )
    with asked_of_the_hub(f"The {AUTO[kind].removeprefix('Auto')} of {named}", remedy, DataError):
        return getattr(transformers, AUTO[kind]).from_pretrained(
            str(folder or name), trust_remote_code=False, local_files_only=folder is not None
        )


def _statistics(options: Options) -> tuple[Tensor, Tensor]:
    if options.channels not in (1, 3):
        raise DataError(f"channels is {options.channels}; give 3 for colour or 1 for grey.")
    if options.size is not None and options.size < 1:
        raise DataError(f"size is {options.size}; give the side of the images in pixels, at least 1.")
    chosen = [[0.5] * options.channels if one is None else [*one] for one in (options.mean, options.std)]
    if any(len(values) != options.channels for values in chosen) or min(chosen[1]) <= 0:
        raise DataError(
            f"mean and std need {options.channels} values, one a channel, those of std above 0; found {chosen[0]} and "
            f"{chosen[1]}."
        )
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in chosen)
    return mean, std


@dataclass(frozen=True)
class Pictures:
    """Makes (N, C, H, W) of encoded images."""

    processor: Any
    size: int | None
    channels: int
    mean: Tensor
    std: Tensor

    def __call__(self, stored: Sequence[Any]) -> Inputs:
        """Return float32 (N, C, H, W); several tensors by name where the processor makes several."""
        if self.processor is not None:
            images = [picture(content, 3, None, deep=False) for content in stored]
            return _tensors(
                self.processor(images=list(images), input_data_format="channels_first", return_tensors="pt")
            )
        images = [picture(content, self.channels, self.size) for content in stored]
        if len(sizes := {tuple(image.shape[1:]) for image in images}) > 1:
            shown = " and ".join(f"{height} × {width}" for height, width in sorted(sizes)[:2])
            raise DataError(
                f"Images have several sizes, such as {shown}; set the option size, to which they are fitted."
            )
        return (torch.from_numpy(np.stack(images)) - self.mean) / self.std


@dataclass(frozen=True)
class Texts:
    """Makes token indices and masks (N, length) of texts."""

    tokenizer: Any
    length: int

    @classmethod
    def fitted(cls, tokenizer: Any, max_length: int | None, everything: Sequence[Sequence[Any]]) -> "Texts":
        """Return the one for the longest of all texts."""
        if max_length is not None and max_length < 1:
            raise DataError(f"max_length is {max_length}; give the number of tokens to which texts are cut.")
        if tokenizer.pad_token is None:
            raise DataError(
                "The tokenizer has no token for padding, without which texts make no batch. Set pad_token in its "
                "tokenizer_config.json, and pad_token_id of the network's config."
            )
        most = max_length or min(_LONGEST, tokenizer.model_max_length)
        counts = [
            len(ids)
            for texts in everything
            for ids in tokenizer([_text(one) for one in texts], truncation=True, max_length=most)["input_ids"]
        ]
        return cls(tokenizer, max(counts))

    def __call__(self, stored: Sequence[Any]) -> Inputs:
        """Return int64 (N, length) by name: ``input_ids``, ``attention_mask``, and what else the tokenizer makes."""
        texts = [_text(one) for one in stored]
        made = self.tokenizer(texts, truncation=True, max_length=self.length, padding="max_length", return_tensors="pt")
        return _tensors(made)


def _text(content: Any) -> str:
    if isinstance(content, bytes):
        return content.decode("utf-8", errors="replace")
    return str(content)


@dataclass(frozen=True)
class Sounds:
    """Makes inputs of one length of sounds: what a feature extractor makes, or the wave itself, (N, 1, samples)."""

    extractor: Any
    rate: int
    samples: int

    @classmethod
    def fitted(cls, extractor: Any, seconds: float | None, everything: Sequence[Sequence[Any]]) -> "Sounds":
        """Return the one for the longest of all sounds, or of ``seconds``."""
        if seconds is not None and not seconds > 0:
            raise DataError(f"seconds is {seconds}; give how long a sound is, above 0.")
        rate = getattr(extractor, "sampling_rate", None) or sound(everything[0][0], None)[1]
        if seconds is not None:
            return cls(extractor, rate, max(1, round(seconds * rate)))
        lengths = (len(sound(content, rate)[0]) for sounds in everything for content in sounds)
        return cls(extractor, rate, max(lengths))

    def __call__(self, stored: Sequence[Any]) -> Inputs:
        """Return float32, (N, 1, samples) without an extractor."""
        waves = [sound(content, self.rate)[0] for content in stored]
        if self.extractor is None:
            made = np.zeros((len(waves), 1, self.samples), np.float32)
            for row, wave in zip(made, waves, strict=True):
                row[0, : len(wave)] = wave[: self.samples]
            return torch.from_numpy(made)
        asked = {"sampling_rate": self.rate, "return_tensors": "pt"}
        # Some fill up to a length of their own, such as Whisper's to 30 seconds.
        if "padding" in inspect.signature(self.extractor.__call__).parameters and not hasattr(
            self.extractor, "nb_max_frames"
        ):
            asked |= {"padding": "max_length", "max_length": self.samples, "truncation": True}
        return _tensors(self.extractor(waves, **asked))


@dataclass(frozen=True)
class Numbers:
    """Makes (N, …) of arrays of one shape."""

    tokens: bool

    def __call__(self, stored: Sequence[Any]) -> Inputs:
        """Return float32; int64 of whole numbers that are indices."""
        arrays = [np.asarray(values) for values in stored]
        if strange := next((one for one in arrays if one.dtype.kind not in "biuf"), None):
            raise DataError(f"A sample holds {strange.dtype}; give numbers.")
        if len(shapes := {array.shape for array in arrays}) > 1:
            shown = " and ".join(map(str, sorted(shapes)[:2]))
            raise DataError(f"Samples have several shapes, such as {shown}; give all the same.")
        whole = self.tokens and arrays[0].dtype.kind in "iu"
        return torch.from_numpy(np.stack(arrays).astype(np.int64 if whole else np.float32))


def _tensors(made: Mapping[str, Any]) -> Inputs:
    """Return what a processor made: the tensor itself where it is the only one, so that any network takes it."""
    found = {name: value for name, value in made.items() if isinstance(value, Tensor)}
    if not found:
        raise DataError(f"The processor made no tensor but {counted(len(made), 'other thing')}; choose another one.")
    return next(iter(found.values())) if len(found) == 1 else found
