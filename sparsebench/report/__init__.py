"""Reports: Markdown, tables and figures, made from records alone; what they are drawn with is imported on first use."""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.report.sensitivity import write_sensitivity
    from sparsebench.report.write import write_report

__all__ = ["write_report", "write_sensitivity"]

__getattr__ = lazy_attributes(
    __name__,
    {"write_report": "sparsebench.report.write", "write_sensitivity": "sparsebench.report.sensitivity"},
)
