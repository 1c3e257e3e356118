from torch import nn


def build(num_classes, input_shape):
    channels, _ = input_shape
    return nn.Sequential(
        nn.Conv1d(channels, 16, kernel_size=7, stride=2),
        nn.ReLU(),
        nn.Conv1d(16, 32, kernel_size=5),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )
