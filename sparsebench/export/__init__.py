"""Export: a trial of a finished run as a file that its runtime loads without sparsebench, verified, with a card."""

from sparsebench.export.advice import export_command
from sparsebench.export.export import Exported, export_trial

__all__ = ["Exported", "export_command", "export_trial"]
