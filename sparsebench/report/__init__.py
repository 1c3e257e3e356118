"""Reports: Markdown, tables and figures, made from records alone; what they are drawn with is imported on first use."""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.report.ending import run_ending
    from sparsebench.report.sensitivity import write_sensitivity
    from sparsebench.report.write import write_report

__all__ = ["run_ending", "write_report", "write_sensitivity"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "run_ending": "sparsebench.report.ending",
        "write_report": "sparsebench.report.write",
        "write_sensitivity": "sparsebench.report.sensitivity",
    },
)
