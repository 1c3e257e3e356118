"""Metrics of a class for each token."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sparsebench.metrics.base import Floats
from sparsebench.metrics.resampled import SumsMetric, quotient
from sparsebench.store.scales import Scale

_LEFT_OUT = -100


class Perplexity(SumsMetric):
    """exp of the mean loss of a token, in nats: among how many tokens a network as unsure as this would have to guess.

    Samples are resampled, not tokens: those of one sample depend on each other.

    Args:
        shift: whether targets are the inputs themselves, so that each output is compared with the token after it.
        ignore_index: tokens with this label do not count; nor does the loss count them.
    """

    scale = Scale(metric="perplexity", title="perplexity", short="perplexity", higher_is_better=False)
    why_not_finite = "It needs a token that counts, and outputs that are finite."

    def __init__(self, shift: bool = False, ignore_index: int = _LEFT_OUT) -> None:
        self.shift, self.ignore_index = shift, ignore_index

    def problem(self, outputs: Tensor, targets: Tensor) -> str | None:
        """Return that outputs and targets are not of one form, or labels lie beyond the tokens."""
        if outputs.dim() != 3 or targets.dim() != 2 or outputs.shape[:2] != targets.shape:
            return (
                f"perplexity takes the logits of each token, (N, length, tokens), and the token at each place, "
                f"(N, length), and there are outputs of shape {tuple(outputs.shape)} and targets of shape "
                f"{tuple(targets.shape)}."
            )
        counted = targets[targets != self.ignore_index]
        if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < outputs.shape[2]:
            return (
                f"Tokens are from {int(counted.min())} to {int(counted.max())}, and there are outputs for "
                f"{outputs.shape[2]}; they must be from 0 to {outputs.shape[2] - 1}, or {self.ignore_index} where one "
                "does not count."
            )
        return None

    def for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and targets of the tokens that count: (T, tokens) and (T,)."""
        if self.shift:
            outputs, targets = outputs[:, :-1], targets[:, 1:]
        counts = targets != self.ignore_index
        return outputs[counts], targets[counts]

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the losses of each sample, and how many of its tokens count: (N, 2)."""
        if self.shift:
            outputs, targets = outputs[:, :-1], targets[:, 1:]
        losses = cross_entropy(
            outputs.transpose(1, 2).float(), targets, ignore_index=self.ignore_index, reduction="none"
        )
        return torch.stack([losses.double().sum(1), (targets != self.ignore_index).double().sum(1)], dim=1)

    def of_sums(self, sums: Floats) -> Floats:
        """Return exp of the mean."""
        return np.exp(quotient(sums[..., 0], sums[..., 1]))
