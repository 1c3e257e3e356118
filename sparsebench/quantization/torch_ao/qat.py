"""What quantization-aware training learns, and for how long: ranges of activations and statistics of batch norms."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.intrinsic.qat import freeze_bn_stats, update_bn_stats
from torch.nn.modules.batchnorm import _BatchNorm

NORMS_HELD_AFTER = 0.5
"""Share of the training steps after which the running statistics of batch norms stay as they are, so that the weights
learn with the statistics that will be folded into them. Torchvision's references hold them after 3 of 8 epochs."""

RANGES_HELD_AFTER = 0.75
"""Share of the training steps after which the ranges of the activations stay as they are; 4 of 8 epochs there."""


@contextmanager
def settling(prepared: nn.Module, steps: int) -> Iterator[nn.Module]:
    """Let the ranges and the batch norms of a network under quantization-aware training come to rest.

    Ranges are learned in training mode alone, so that validation data has no part in them.

    Args:
        prepared: a network with fake quantization, about to be trained.
        steps: training steps in all, that is forward passes in training mode.

    Yields:
        ``prepared`` itself.
    """
    hook = prepared.register_forward_pre_hook(_Schedule(prepared, steps))
    try:
        yield prepared
    finally:
        hook.remove()


class _Schedule:
    """Counts the training steps of a network, and switches what is learned in them.

    Torch's ranges are averages that each batch enters with a hundredth, the first with all the rest: a training of
    some dozen steps would keep the ranges of its first batch, which was normalised by its own statistics. Here a range
    is the mean over the steps so far until these are a hundred, and begins anew when the batch norms are held, for from
    then on activations are what they will be. The range of a weight is its present one.
    """

    def __init__(self, prepared: nn.Module, steps: int) -> None:
        self.norms_held_from = max(1, round(NORMS_HELD_AFTER * steps))
        self.ranges_held_from = max(1, round(RANGES_HELD_AFTER * steps))
        self.step, self.seen, self.learning = 0, 0, True
        prepared.apply(update_bn_stats)
        self._norms = [module for module in prepared.modules() if isinstance(module, _BatchNorm)]
        observers = dict(_observers(prepared))
        self._of_activations = {
            one: one.averaging_constant for name, one in observers.items() if "weight_fake_quant" not in name
        }
        for one in observers.values():
            if one not in self._of_activations:
                one.averaging_constant = 1.0

    def __call__(self, net: nn.Module, inputs: Any) -> None:  # noqa: ARG002 # the signature of a hook
        learning = net.training and self.step < self.ranges_held_from
        if learning != self.learning:
            self.learning = learning
            for module in net.modules():
                if isinstance(module, ao.FakeQuantizeBase):
                    module.enable_observer(learning)
        if not net.training:
            return
        if self.step == self.norms_held_from and self._norms:
            net.apply(freeze_bn_stats)
            self.seen = 0
            for one in self._of_activations:
                one.reset_min_max_vals()
        if self.step >= self.norms_held_from:
            for norm in self._norms:  # Each epoch sets those that no convolution took in to training again.
                norm.eval()
        self.step, self.seen = self.step + 1, self.seen + 1
        for one, constant in self._of_activations.items():
            one.averaging_constant = max(constant, 1 / self.seen)


def _observers(prepared: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the observers that average ranges over batches, by name."""
    for name, module in prepared.named_modules():
        if isinstance(module, ao.MovingAverageMinMaxObserver | ao.MovingAveragePerChannelMinMaxObserver):
            yield name, module
