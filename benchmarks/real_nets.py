"""The networks of benchmarks/real_networks.py: those of torchvision and timm by name, and some of other fields.

Weights are random, and never downloaded; running statistics are those of the random inputs.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.nn.utils.rnn import pack_padded_sequence

from sparsebench.quantization import settling
from sparsebench.tensors import cloned

CLASSES = 10
SIZE, WINDOWED_SIZE = 64, 224
"""Of images. Layers and most weights are those of 224 × 224 pixels all the same, and a table of all networks takes half
an hour. Windows of a Swin transformer are whole at 224 alone."""
WORDS, LENGTH, PAD = 200, 24, 0
SAMPLES_OF_AUDIO = 8000
TOGETHER = 4
"""Batches of which running statistics are taken at once, and with which a training step is made."""
STEPS = 4


@dataclass(frozen=True)
class Net:
    """A network and the inputs that it takes.

    Attributes:
        build: makes it, with random weights.
        inputs: the positional arguments of one forward pass, for a number of samples and a seed.
        needs: the package that it comes from, beside torch; empty for none.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int, int], tuple[Any, ...]]
    needs: str = ""

    @property
    def missing(self) -> str:
        """Why it cannot be built here; empty where it can."""
        return f"{self.needs} is not installed" if self.needs and not find_spec(self.needs) else ""


class TextClassifier(nn.Module):
    """``nn.Transformer`` over padded words: the encoder reads them, one query of the decoder asks for the class."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width, padding_idx=PAD)
        self.place = nn.Parameter(torch.randn(LENGTH, width) * 0.1)
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.transformer = nn.Transformer(width, 4, 2, 1, 4 * width, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """Return scores (N, 10) of words (N, 24), in which 0 is padding."""
        padded = words == PAD
        asked = self.query.expand(words.shape[0], -1, -1)
        found = self.transformer(
            self.embed(words) + self.place, asked, src_key_padding_mask=padded, memory_key_padding_mask=padded
        )
        return self.head(found[:, 0])


class PackedLSTM(nn.Module):
    """A bidirectional LSTM over words that are packed by their lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 32, padding_idx=PAD)
        self.lstm = nn.LSTM(32, 48, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(96, CLASSES)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return scores (N, 10) of words (N, 24), of which the first ``lengths`` (N,) count."""
        packed = pack_padded_sequence(self.embed(words), lengths.cpu(), batch_first=True, enforce_sorted=False)
        last = self.lstm(packed)[1][0]
        return self.head(torch.cat([last[-2], last[-1]], 1))


class M5(nn.Module):
    """M5 of Dai et al. 2017, "Very deep convolutional neural networks for raw waveforms"."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for out, kernel, stride in ((width, 80, 16), (width, 3, 1), (2 * width, 3, 1), (2 * width, 3, 1)):
            layers += [nn.Conv1d(channels, out, kernel, stride), nn.BatchNorm1d(out), nn.ReLU(), nn.MaxPool1d(4)]
            channels = out
        self.features, self.head = nn.Sequential(*layers), nn.Linear(channels, CLASSES)

    def forward(self, sound: Tensor) -> Tensor:
        """Return logarithms of probabilities (N, 10) of sound (N, 1, 8000)."""
        found = self.features(sound)
        found = nn.functional.avg_pool1d(found, found.shape[-1]).permute(0, 2, 1)
        return nn.functional.log_softmax(self.head(found), dim=2).squeeze(1)


class UNet(nn.Module):
    """Down and up again, with skips and transposed convolutions, and a class for the whole image at the end."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.into, self.down = _block(3, width), _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.join2 = _block(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join1 = _block(2 * width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (N, 10) of images (N, 3, 64, 64)."""
        first = self.into(x)
        second = self.down(nn.functional.max_pool2d(first, 2))
        found = self.bottom(nn.functional.max_pool2d(second, 2))
        found = self.join2(torch.cat([self.up2(found), second], 1))
        found = self.join1(torch.cat([self.up1(found), first], 1))
        return self.head(found.mean((2, 3)))


class Siamese(nn.Module):
    """Two images through one network, and whether they show the same."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(_block(3, width), nn.MaxPool2d(2), _block(width, 2 * width))
        self.project, self.head = nn.Linear(2 * width, 32), nn.Linear(32, 2)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return scores (N, 2) of pairs of images (N, 3, 64, 64)."""
        first, second = (self.project(self.features(x).mean((2, 3))) for x in (one, other))
        return self.head((first - second).abs())


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def _torchvision(name: str) -> nn.Module:
    import torchvision

    options = {"googlenet": {"init_weights": True}, "vit_b_16": {"image_size": SIZE}}.get(name, {})
    return torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)


def _timm(name: str) -> nn.Module:
    import timm

    options = {"img_size": SIZE} if name.startswith(("levit", "mixer")) else {}
    return timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(size: int, count: int, samples: int, seed: int) -> tuple[Tensor, ...]:
    generator = _generator(seed)
    coarse = torch.randn(count * samples, 3, size // 16, size // 16, generator=generator)
    # Contrast and colour of their own, as photographs have: of mere noise, all images are the same to a network.
    contrast = torch.rand(count * samples, 1, 1, 1, generator=generator) * 2
    colour = torch.randn(count * samples, 3, 1, 1, generator=generator)
    return nn.functional.interpolate(coarse * contrast + colour, size=(size, size), mode="bilinear").chunk(count)


def _images_for(name: str) -> Callable[[int, int], tuple[Tensor, ...]]:
    return partial(_images, WINDOWED_SIZE if name.startswith("swin") else SIZE, 1)


def _sound(samples: int, seed: int) -> tuple[Tensor, ...]:
    generator = _generator(seed)
    loudness = torch.rand(samples, 1, 1, generator=generator) * 2
    return (torch.randn(samples, 1, SAMPLES_OF_AUDIO, generator=generator) * loudness,)


def _words(samples: int, seed: int) -> tuple[Tensor, ...]:
    generator = _generator(seed)
    words = torch.randint(1, WORDS, (samples, LENGTH), generator=generator)
    for row in words:
        row[int(torch.randint(4, LENGTH + 1, (1,), generator=generator)) :] = PAD
    return (words,)


def _words_and_lengths(samples: int, seed: int) -> tuple[Tensor, ...]:
    (words,) = _words(samples, seed)
    return words, (words != PAD).sum(1)


_OF_TORCHVISION = (
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "googlenet",
    "densenet121",
    "convnext_tiny",
    "swin_t",
    "vit_b_16",
    "efficientnet_b0",
)
_OF_TIMM = ("repvgg_a0", "levit_128s", "mixer_s32_224", "ghostnet_100", "edgenext_xx_small")

NETS: Mapping[str, Net] = {
    "text transformer": Net(TextClassifier, _words),
    "packed LSTM": Net(PackedLSTM, _words_and_lengths),
    "M5": Net(M5, _sound),
    "U-Net": Net(UNet, partial(_images, SIZE, 1)),
    "siamese": Net(Siamese, partial(_images, SIZE, 2)),
    **{name: Net(partial(_torchvision, name), _images_for(name), "torchvision") for name in _OF_TORCHVISION},
    **{name: Net(partial(_timm, name), _images_for(name), "timm") for name in _OF_TIMM},
}
"""The small ones first."""

COMPILED = ("text transformer", "M5", "U-Net", "siamese", "mobilenet_v3_small", "repvgg_a0")
"""What inductor, which compiles each for a minute, is tried with."""


def built(name: str, batches: Sequence[tuple[Any, ...]]) -> nn.Module:
    """Return a network in evaluation mode, with running statistics that are those of ``batches``."""
    torch.manual_seed(0)
    net = NETS[name].build().train()
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        # The mean over all passes. A momentum of 0.01, as MobileNetV3 has it, would leave next to nothing of a few, and
        # a network whose activations fade from layer to layer until all samples are the same.
        norm.momentum = None
        norm.reset_running_stats()
    if norms:
        with torch.no_grad():
            # Of few samples at a time, many channels are the same in all, and anything else would explode in them.
            for start in range(0, len(batches), TOGETHER):
                net(*_together(batches[start : start + TOGETHER]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()


def trained(prepared: nn.Module, batches: Sequence[tuple[Any, ...]]) -> nn.Module:
    """Train a network that is prepared for int8, in place; return what it computes in float after that.

    The same samples are in each of four steps: ranges are means over steps, and those of four samples that are unlike
    any others would cut off what others have beyond them.
    """
    optimizer, fed = torch.optim.SGD(prepared.parameters(), lr=1e-5), _together(batches[:TOGETHER])
    with settling(prepared, STEPS):
        for _ in range(STEPS):
            optimizer.zero_grad()
            prepared(*cloned(fed)).square().mean().backward()
            optimizer.step()
    return copy.deepcopy(prepared).apply(ao.disable_fake_quant).apply(ao.disable_observer).eval()


def _together(batches: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


@torch.no_grad()
def rounded(net: nn.Module, batches: Sequence[tuple[Any, ...]]) -> nn.Module:
    """Return a copy whose weights have 8 bits for each output channel, and the outputs of its layers 7 for each tensor.

    These are the widths of torch's int8 kernels for x86 processors.
    """
    net, ranges = copy.deepcopy(net), dict[str, tuple[float, float]]()
    layers = {name: layer for name, layer in net.named_modules() if isinstance(getattr(layer, "weight", None), Tensor)}

    def watch(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(value.min())), max(high, float(value.max()))

    def to_levels(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        low, high = ranges[name]
        step = (high - low) / 127 or 1.0
        return ((value.clamp(low, high) - low) / step).round() * step + low

    watching = [layer.register_forward_hook(lambda _, __, out, n=name: watch(n, out)) for name, layer in layers.items()]
    for batch in batches:
        net(*cloned(batch))
    for hook in watching:
        hook.remove()
    for name, layer in layers.items():
        if layer.weight.dim() > 1:
            step = (
                layer.weight.flatten(1).abs().amax(1).clamp_min(1e-12).reshape(-1, *[1] * (layer.weight.dim() - 1))
                / 127
            )
            layer.weight.copy_((layer.weight / step).round() * step)
        layer.register_forward_hook(lambda _, __, out, n=name: to_levels(n, out))
    return net
