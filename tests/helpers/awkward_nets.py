"""Tiny networks with what brings the conversion of others to grief: masks, branches on shapes, batch statistics."""

import math

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS, LENGTH, PAD = 40, 12, 0


class BatchStatistics(nn.Module):
    """A batch norm that keeps no running statistics, behind a convolution that it would be folded into."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x):
        return self.classifier(torch.relu(self.norm(self.conv(x))).amax((2, 3)))


class GroupedUp(nn.Module):
    """Transposed convolutions in groups, one of them depthwise, with other numbers of channels in and out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.deep = nn.ConvTranspose2d(4, 4, 3, groups=4)
        self.classifier = nn.Linear(4, 5)

    def forward(self, x):
        return self.classifier(torch.relu(self.deep(self.up(torch.relu(self.conv(x))))).mean((2, 3)))


class OwnAttention(nn.Module):
    """Attention as many write it: scores of padded words are filled with a value, or get it added."""

    def __init__(self, fill=float("-inf"), adds=False):
        super().__init__()
        self.fill, self.adds = fill, adds
        self.embed, self.qkv = nn.Embedding(WORDS, 16, padding_idx=PAD), nn.Linear(16, 48)
        self.classifier = nn.Linear(16, 5)

    def forward(self, words):
        padded = words == PAD
        query, key, value = self.qkv(self.embed(words)).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.size(-1))
        if self.adds:
            mask = torch.zeros_like(scores).masked_fill(padded.unsqueeze(1), self.fill)
            scores = scores + mask
        else:
            scores = scores.masked_fill(padded.unsqueeze(1), self.fill)
        mixed = torch.softmax(scores, -1) @ value
        return self.classifier(mixed[:, 0])


class Causal(nn.Module):
    """A constant mask with infinities that is added to the scores of (N, T, 8)."""

    def __init__(self):
        super().__init__()
        self.qkv, self.classifier = nn.Linear(8, 24), nn.Linear(8, 5)
        self.register_buffer("mask", torch.full((5, 5), float("-inf")).triu(1))

    def forward(self, x):
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) + self.mask
        return self.classifier((torch.softmax(scores, -1) @ value).mean(1))


class Encoder(nn.Module):
    """Torch's own encoder, whose fast path takes padded words out."""

    def __init__(self, norm_first=False):
        super().__init__()
        self.embed = nn.Embedding(WORDS, 16, padding_idx=PAD)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1, norm=nn.LayerNorm(16), enable_nested_tensor=not norm_first)
        self.classifier = nn.Linear(16, 5)

    def forward(self, words):
        padded = words == PAD
        there = (~padded).unsqueeze(-1)
        mixed = self.encoder(self.embed(words), src_key_padding_mask=padded)
        return self.classifier((mixed * there).sum(1) / there.sum(1))


class Asks(nn.Module):
    """Torch's own transformer, of which one query asks."""

    def __init__(self):
        super().__init__()
        self.embed, self.query = nn.Embedding(WORDS, 16, padding_idx=PAD), nn.Parameter(torch.randn(1, 1, 16))
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
        self.classifier = nn.Linear(16, 5)

    def forward(self, words):
        padded = words == PAD
        asked = self.query.expand(words.shape[0], -1, -1)
        found = self.transformer(self.embed(words), asked, src_key_padding_mask=padded, memory_key_padding_mask=padded)
        return self.classifier(found[:, 0])


class Branching(nn.Module):
    """Branches on shapes, counts and iterates over them, and has an argument that nobody gives."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3)])
        self.classifier = nn.Linear(6, 5)

    def forward(self, x, scale=None):
        if x.dim() != 4 or x.shape[1] != 1:
            raise ValueError("images (N, 1, H, W) only")
        if x.shape[-1] % 2 == 0:
            x = nn.functional.pad(x, (0, 1, 0, 1))
        for conv in self.convs:
            x = torch.relu(conv(x))
        rows = [x[:, :, row].mean(-1) for row in range(x.shape[2])]
        x = sum(rows) / len(rows)
        if scale is not None:
            x = x * scale
        return self.classifier(x.view(len(x), -1) if x.size(1) == 6 else x)


class ByBatch(nn.Module):
    """What it does depends on the number of samples."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(8, 5)

    def forward(self, x):
        return self.classifier(x if x.shape[0] > 4 else -x).reshape(x.shape[0], 5)


class Packs(nn.Module):
    """Packs padded words by their lengths, which it is given beside them, and unpacks what a GRU says."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, 12, padding_idx=PAD)
        self.gru = nn.GRU(12, 10, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(20, 5)

    def forward(self, batch):
        words, lengths = batch["words"], batch["lengths"]
        packed = pack_padded_sequence(self.embed(words), lengths, batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.classifier(padded.amax(1))


def made(kind, *arguments, **named):
    """Return a network in evaluation mode whose outputs differ well from sample to sample."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = kind(*arguments, **named)
        with torch.no_grad():
            net.classifier.weight.mul_(4)
    return net.eval()


def words(count=24, seed=1):
    """Return ids (N, LENGTH), padded from a place of their own on."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(1, WORDS, (count, LENGTH), generator=generator)
    for row in found:
        row[int(torch.randint(3, LENGTH + 1, (1,), generator=generator)) :] = PAD
    return found


def pictures(count=24):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def rows(count=24):
    return torch.randn(count, 5, 8, generator=torch.Generator().manual_seed(1))


def batches(count=24):
    found = words(count)
    return {"words": found, "lengths": (found != PAD).sum(1)}
