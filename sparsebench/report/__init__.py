"""Reports: Markdown, tables and figures, made from records alone."""

from sparsebench.report.write import write_report

__all__ = ["write_report"]
