"""What quantization-aware training learns, and for how long: ranges of activations and statistics of batch norms."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.intrinsic.qat import freeze_bn_stats, update_bn_stats

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
    """Counts the training steps of a network, and switches what is learned in them."""

    def __init__(self, prepared: nn.Module, steps: int) -> None:
        self.norms_held_from = max(1, round(NORMS_HELD_AFTER * steps))
        self.ranges_held_from = max(1, round(RANGES_HELD_AFTER * steps))
        self.step, self.learning = 0, True
        prepared.apply(update_bn_stats)

    def __call__(self, net: nn.Module, inputs: Any) -> None:  # noqa: ARG002 # the signature of a hook
        learning = net.training and self.step < self.ranges_held_from
        if learning != self.learning:
            self.learning = learning
            for module in net.modules():
                if isinstance(module, ao.FakeQuantizeBase):
                    module.enable_observer(learning)
        if net.training:
            if self.step == self.norms_held_from:
                net.apply(freeze_bn_stats)
            self.step += 1
