"""Networks whose int8 form, or whose baseline, is slow for a cause that can be taken away."""

import torch
from torch import Tensor, nn

from sparsebench.backends import build_backend
from sparsebench.models.lstm_classifier import lstm_classifier
from sparsebench.models.resnet_cifar import resnet20
from sparsebench.models.small_cnn import small_cnn
from sparsebench.quantization import Recording

IMAGE, ROWS, COLOURS = (1, 8, 8), (8, 8), (3, 32, 32)


def image() -> tuple[Tensor]:
    """Return one digit."""
    return (torch.rand((1, *IMAGE), generator=torch.Generator().manual_seed(0)),)


def colours() -> tuple[Tensor]:
    """Return one image in colour."""
    return (torch.rand((1, *COLOURS), generator=torch.Generator().manual_seed(0)),)


def rows() -> tuple[Tensor]:
    """Return one digit, read row by row."""
    return (torch.rand((1, *ROWS), generator=torch.Generator().manual_seed(0)),)


def convolutional(scheme: str = "fp32") -> nn.Module:
    """Return the default network in a scheme on eager."""
    torch.manual_seed(0)
    return _in(scheme, small_cnn(10, IMAGE).eval(), image())


def with_float_linear() -> nn.Module:
    """Return the same in dynamic int8, with its Linear layers in float again: without what is quantized at run time."""
    net, whole = convolutional("dynamic"), convolutional()
    for name in dict(whole.named_modules()):
        if type(net.get_submodule(name)).__module__.startswith("torch.ao"):
            net.set_submodule(name, whole.get_submodule(name))
    return net


class ByOneDNN(nn.Module):
    """A convolution computed by oneDNN whatever the batch."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        one = self.layer
        padding = list(one.padding) if isinstance(one.padding, tuple) else [0, 0]
        return torch.mkldnn_convolution(
            x, one.weight, one.bias, padding, list(one.stride), list(one.dilation), one.groups
        )


def residual(scheme: str = "fp32") -> nn.Module:
    """Return a ResNet-20 in a scheme on eager."""
    torch.manual_seed(0)
    return _in(scheme, resnet20(10, COLOURS).eval(), colours())


def residual_without_fallback() -> nn.Module:
    """Return the same in fp32 without PyTorch's fallback convolution."""
    return _by_one_dnn(residual())


def without_fallback() -> nn.Module:
    """Return the default network in fp32 without PyTorch's fallback convolution."""
    return _by_one_dnn(convolutional())


def _by_one_dnn(net: nn.Module) -> nn.Module:
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d):
            net.set_submodule(name, ByOneDNN(module))
    return net


def recurrent(scheme: str = "fp32") -> nn.Module:
    """Return an LSTM in a scheme on eager."""
    torch.manual_seed(0)
    return _in(scheme, lstm_classifier(10, ROWS).eval(), rows())


class StepByStep(nn.Module):
    """A network whose recurrent layers run as single operations in torch, not as one of oneDNN."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.backends.mkldnn.flags(enabled=False):
            found: Tensor = self.network(x)
        return found


def recurrent_step_by_step() -> nn.Module:
    """Return the LSTM in fp32 without oneDNN's operator for whole sequences."""
    return StepByStep(recurrent()).eval()


def _in(scheme: str, net: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    def read(network: nn.Module) -> None:
        network(*inputs)

    return build_backend("eager").compress(net, scheme, inputs, Recording(net, read, limit=1)).network
