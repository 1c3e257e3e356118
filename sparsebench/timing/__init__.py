"""How latency is measured: the paired comparison of several variants.

``compare`` is the paired protocol. From the bottom up: ``statistics`` is pure; ``schedule`` orders the blocks of a
round and pairs them; ``blocks`` and ``gpu`` time one block; ``bench`` times one round; ``worker`` does so in a process
of its own; ``session`` goes on until the answer is precise; ``comparing`` puts it together and ``comparison`` is what
it hands back. The public names are loaded on first use, so that importing this package does not import torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.statistics.verdicts import Verdict
    from sparsebench.timing.batch import batch_of
    from sparsebench.timing.comparison import Comparison, Ratio, Timing
    from sparsebench.timing.conditions import Conditions
    from sparsebench.timing.protocol import compare
    from sparsebench.timing.session import RoundRecord
    from sparsebench.timing.variants import Built

_HOMES = {
    "Built": "sparsebench.timing.variants",
    "Comparison": "sparsebench.timing.comparison",
    "Conditions": "sparsebench.timing.conditions",
    "Ratio": "sparsebench.timing.comparison",
    "RoundRecord": "sparsebench.timing.session",
    "Timing": "sparsebench.timing.comparison",
    "Verdict": "sparsebench.statistics.verdicts",
    "batch_of": "sparsebench.timing.batch",
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
