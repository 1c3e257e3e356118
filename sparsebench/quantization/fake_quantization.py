"""What happens to fake quantization while somebody trains it: ranges are learned first, and then held."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.ao.nn.intrinsic.qat import freeze_bn_stats, update_bn_stats
from torch.ao.quantization import FakeQuantizeBase

from sparsebench.errors import QuantizationError

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
    schedule = _Schedule(prepared, steps)
    hook = prepared.register_forward_pre_hook(schedule)
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
                if isinstance(module, FakeQuantizeBase):
                    module.enable_observer(learning)
        if net.training:
            if self.step == self.norms_held_from:
                net.apply(freeze_bn_stats)
            self.step += 1


def load_trained_state(prepared: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put what quantization-aware training left into a freshly prepared network, in place.

    Raises:
        QuantizationError: where the state belongs to another network, scheme or version of torch.
    """
    try:
        prepared.load_state_dict(state)
    except RuntimeError as error:
        raise QuantizationError(
            "The stored weights of quantization-aware training do not belong to this network; they were made for "
            "another one or by another version of torch. Compress the network again."
        ) from error
