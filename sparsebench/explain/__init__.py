"""Why a network is slower or faster than another: where the time of a call goes, layer by layer, and in words."""

from sparsebench.lazy import lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "Explanation": "sparsebench.explain.findings",
        "explain_trials": "sparsebench.explain.trials",
    },
)
