"""How latency is measured: the paired comparison of several variants.

``compare`` is the paired protocol. From the bottom up: ``schedule`` orders the blocks of a round and pairs them;
``machine`` says what else goes on; ``blocks`` and ``gpu`` time one block; ``bench`` times one round of ``variants``,
``worker`` does so in a process of its own; ``session`` goes on until the answer is precise; ``summary`` makes a
``comparison`` of it, and ``protocol`` puts all of it together. The public names are loaded on first use, so that
importing this package does not import torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.statistics.verdicts import Verdict
    from sparsebench.timing.comparison import Comparison, Ratio, Timing
    from sparsebench.timing.machine import Conditions
    from sparsebench.timing.protocol import compare
    from sparsebench.timing.session import RoundRecord
    from sparsebench.timing.variants import Built, batch_of

_HOMES = {
    "Built": "sparsebench.timing.variants",
    "Comparison": "sparsebench.timing.comparison",
    "Conditions": "sparsebench.timing.machine",
    "Ratio": "sparsebench.timing.comparison",
    "RoundRecord": "sparsebench.timing.session",
    "Timing": "sparsebench.timing.comparison",
    "Verdict": "sparsebench.statistics.verdicts",
    "batch_of": "sparsebench.timing.variants",
    "compare": "sparsebench.timing.protocol",
}

__all__ = [
    "Built",
    "Comparison",
    "Conditions",
    "Ratio",
    "RoundRecord",
    "Timing",
    "Verdict",
    "batch_of",
    "compare",
]

__getattr__ = lazy_attributes(__name__, _HOMES)
