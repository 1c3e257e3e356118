"""How latency is measured: the paired comparison of several variants.

``compare`` is the paired protocol. From the bottom up: ``schedule`` orders the blocks of a round; ``machine`` says what
else goes on; ``blocks`` times one block; ``bench`` times one round of ``variants``, ``worker`` does so in a process of
its own; ``session`` lets processes time until the answer is precise, ``summary`` makes a ``comparison`` of it, and
``protocol`` puts all of it together. The public names are loaded on first use, so that
importing this package does not import torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.statistics.verdicts import Validity, Verdict
    from sparsebench.tensors import batch_of
    from sparsebench.timing.comparison import Comparison, Speedup, Timing
    from sparsebench.timing.machine import Conditions
    from sparsebench.timing.protocol import compare
    from sparsebench.timing.schedule import Step
    from sparsebench.timing.session import RoundRecord
    from sparsebench.timing.variants import Built

_HOMES = {
    "Built": "sparsebench.timing.variants",
    "Comparison": "sparsebench.timing.comparison",
    "Conditions": "sparsebench.timing.machine",
    "RoundRecord": "sparsebench.timing.session",
    "Speedup": "sparsebench.timing.comparison",
    "Step": "sparsebench.timing.schedule",
    "Timing": "sparsebench.timing.comparison",
    "Validity": "sparsebench.statistics.verdicts",
    "Verdict": "sparsebench.statistics.verdicts",
    "batch_of": "sparsebench.tensors",
    "compare": "sparsebench.timing.protocol",
}

__all__ = [
    "Built",
    "Comparison",
    "Conditions",
    "RoundRecord",
    "Speedup",
    "Step",
    "Timing",
    "Validity",
    "Verdict",
    "batch_of",
    "compare",
]

__getattr__ = lazy_attributes(__name__, _HOMES)
