"""Tiny networks of every kind that the schemes treat differently."""

import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub, fuse_modules
from torch.nn.functional import relu
from torch.nn.utils.rnn import pack_sequence


class SmallCNN(nn.Module):
    """Two convolutions with batch norm, a hidden Linear with ReLU, a classifier."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.hidden = nn.Linear(16, 12)
        self.classifier = nn.Linear(12, 10)

    def forward(self, x):
        return self.classifier(relu(self.hidden(self.features(x).flatten(1))))


class ConvOnly(nn.Module):
    """No layer that dynamic quantization knows."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class SmallGRU(nn.Module):
    """A GRU over (N, T, 8), or over packed sequences of 8 features, and a classifier."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.classifier = nn.Linear(6, 10)

    def forward(self, x):
        return self.classifier(self.rnn(x)[1][-1])


class DeepLSTM(nn.Module):
    """Two bidirectional layers of LSTM and a classifier."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(12, 10)

    def forward(self, x):
        return self.classifier(self.rnn(x)[0][:, -1])


class GRUOnly(nn.Module):
    """No layer that static quantization knows."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 6, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[1][-1]


class Stubbed(nn.Module):
    """A network whose author marked for torch.ao what is to be quantized, the classifier included.

    Its branch on the data cannot be traced.
    """

    def __init__(self):
        super().__init__()
        self.quant = QuantStub()
        self.conv = nn.Conv2d(1, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(8, 10)
        self.dequant = DeQuantStub()

    def forward(self, x):
        if x.sum() == 12345:
            raise AssertionError
        x = self.relu(self.bn(self.conv(self.quant(x))))
        return self.dequant(self.classifier(x.mean((2, 3))))

    def fuse_model(self):
        fuse_modules(self, ["conv", "bn", "relu"], inplace=True)


class StubbedDecoder(nn.Module):
    """A marked transposed convolution."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.conv = nn.Conv2d(1, 8, 3)
        self.up = nn.ConvTranspose2d(8, 4, 2)

    def forward(self, x):
        return self.dequant(self.up(self.conv(self.quant(x))))


class Decoder(nn.Module):
    """A convolution and a transposed convolution, traceable."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.up = nn.ConvTranspose2d(8, 4, 2)

    def forward(self, x):
        return self.up(self.conv(x)).mean((2, 3))


class StubbedGRU(nn.Module):
    """A marked convolution, then a GRU inside the marked part."""

    def __init__(self):
        super().__init__()
        self.quant = QuantStub()
        self.conv = nn.Conv1d(8, 8, 3)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.dequant = DeQuantStub()

    def forward(self, x):
        return self.dequant(self.rnn(self.conv(self.quant(x.transpose(1, 2))).transpose(1, 2))[1][-1])


class Untraceable(nn.Module):
    """torch.fx cannot follow its branch on the data, and its author marked nothing."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(8, 10)

    def forward(self, x):
        return self.classifier(x if x.sum() > 0 else -x)


class Functional(nn.Module):
    """Its convolution is a function and not a layer."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 1, 3, 3))
        self.classifier = nn.Linear(4, 10)

    def forward(self, x):
        y = torch.nn.functional.conv2d(x, self.kernel, None, (1, 1), (0, 0), (1, 1), 1)
        return self.classifier(y.mean((2, 3)))


def built(kind, *arguments, **keywords):
    """Return a network in evaluation mode with weights, and running statistics, that are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = kind(*arguments, **keywords)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return net.eval()


def images(count=16):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def sequences(count=16):
    return torch.randn(count, 5, 8, generator=torch.Generator().manual_seed(1))


def packed(lengths=(5, 2, 4)):
    return pack_sequence(
        [row[:n] for row, n in zip(sequences(len(lengths)), lengths, strict=True)], enforce_sorted=False
    )
