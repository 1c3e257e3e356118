"""A small causal transformer over characters, and English that is there at once: what scikit-learn says of its data."""

import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

LETTERS = "\n abcdefghijklmnopqrstuvwxyz0123456789.,:;()-'"
SOURCES = ("iris", "wine", "digits", "diabetes", "breast_cancer", "linnerud")


def characters(length: int = 32) -> tuple[list[TensorDataset], int]:
    """Inputs are characters (N, length), targets those one place further on."""
    parts = ([], [], [])
    for source in SOURCES:
        text = getattr(datasets, f"load_{source}")().DESCR.lower()
        tokens = torch.tensor([LETTERS.index(letter) for letter in text if letter in LETTERS])
        # The end of each text is for testing, and what lies before it for validation.
        ends = len(tokens) * 8 // 10, len(tokens) * 9 // 10
        for part, piece in zip(parts, tokens.tensor_split(ends), strict=True):
            part.append(piece.unfold(0, length + 1, length // 2))
    windows = [torch.cat(part) for part in parts]
    return [TensorDataset(one[:, :-1].contiguous(), one[:, 1:].contiguous()) for one in windows], len(LETTERS)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attended, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attended(self.before(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.joined(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.between(x))))


class CausalTransformer(nn.Module):
    """Returns the logits of the next character at each place, (N, length, characters)."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.letters = nn.Embedding(num_classes, width)
        self.places = nn.Parameter(0.02 * torch.randn(input_shape[0], width))
        self.blocks = nn.Sequential(*(Block(width, heads=4) for _ in range(blocks)))
        self.norm, self.next = nn.LayerNorm(width), nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.next(self.norm(self.blocks(self.letters(tokens) + self.places)))
