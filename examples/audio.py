"""Words of tones to be told apart, as log spectrograms of the size that MLPerf Tiny's keyword spotting has."""

import math

import torch
from torch.utils.data import TensorDataset

RATE, STEPS, BANDS = 8000, 49, 10
WINDOW, HOP = 320, 160
CLASSES = 4


def tones(train: int = 200, test: int = 80) -> tuple[list[TensorDataset], int]:
    """Each class is a melody of two tones, at any loudness and under noise; inputs are (N, 1, 49, 10)."""
    parts = [sung(samples, seed) for seed, samples in enumerate((train, test, test))]
    return [TensorDataset(*part) for part in parts], CLASSES


def sung(samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    seconds = torch.arange(WINDOW + HOP * (STEPS - 1)) / RATE
    low, high = 400.0, 900.0
    first = torch.tensor([low, high, low, high])[labels, None]
    second = torch.tensor([low, high, high, low])[labels, None]
    higher, louder = torch.rand(2, samples, 1, generator=generator)
    pitch = torch.where(seconds < seconds[-1] / 2, first, second) * (0.9 + 0.2 * higher)
    waves = (0.3 + louder) * torch.sin(2 * math.pi * torch.cumsum(pitch / RATE, 1))
    waves += 0.5 * torch.randn(waves.shape, generator=generator)
    return spectrograms(waves), labels


def spectrograms(waves: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the energy in ten bands up to 2 kHz, every 20 ms, (N, 1, 49, 10)."""
    window = torch.hann_window(WINDOW)
    power = torch.stft(waves, WINDOW, HOP, window=window, center=False, return_complex=True).abs() ** 2
    bands = power[:, : 8 * BANDS].unflatten(1, (BANDS, 8)).mean(2)
    return bands.clamp_min(1e-6).log().transpose(1, 2).unsqueeze(1)
