"""Reports: Markdown, tables and figures, made from records alone."""

from sparsebench.report.sensitivity import write_sensitivity
from sparsebench.report.write import write_report

__all__ = ["write_report", "write_sensitivity"]
