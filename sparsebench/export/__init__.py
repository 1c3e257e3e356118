"""Export: a trial of a finished run as a file that its runtime loads without sparsebench, verified, with a card."""

from sparsebench.export.export import Exported, export_of, export_trial
from sparsebench.export.formats import export_command

__all__ = ["Exported", "export_command", "export_of", "export_trial"]
