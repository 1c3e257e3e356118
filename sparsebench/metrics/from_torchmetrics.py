"""The metrics of torchmetrics by the names of their classes, such as ``torchmetrics:CohenKappa``.

torchmetrics is an extra. A metric of it is one value over all samples: it is computed again over each resample.
"""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from sparsebench.errors import SparsebenchError
from sparsebench.registry import unknown_name


class TorchmetricsMetric:
    """A metric of torchmetrics by the name of its class; it is one value over all samples.

    Args:
        name: of the class.
    """

    def __init__(self, name: str) -> None:
        try:
            import torchmetrics
        except ImportError:
            raise SparsebenchError(
                f"Metric 'torchmetrics:{name}' needs torchmetrics, which is not installed; run \"pip install "
                "'sparsebench[torchmetrics]'\"."
            ) from None
        found = getattr(torchmetrics, name, None)
        if not inspect.isclass(found) or not issubclass(found, torchmetrics.Metric):
            raise SparsebenchError(unknown_name("torchmetrics' metric", name, torchmetrics.__all__))
        self.name, self.kind = name, found

    def with_options(self, options: dict[str, Any]) -> Callable[[Any, Any], Tensor]:
        """Return the function with the options of the class.

        Raises:
            SparsebenchError: where the class does not take them.
        """
        try:
            built = self.kind(**options)
        except (TypeError, ValueError) as error:
            raise SparsebenchError(
                f"Metric 'torchmetrics:{self.name}' cannot be built with these options: {error}. Give what its class "
                'asks for in options of [metric], such as { task = "multiclass", num_classes = 10 }.'
            ) from error

        def compute(outputs: Any, targets: Any) -> Tensor:
            found: Tensor = built(outputs, targets)
            built.reset()
            return found

        compute.higher_is_better = built.higher_is_better  # type: ignore[attr-defined] # read by whoever wraps it
        compute.title = self.name  # type: ignore[attr-defined]
        compute.short = self.name  # type: ignore[attr-defined]
        compute.per_sample = False  # type: ignore[attr-defined]
        return compute
