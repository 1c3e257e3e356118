"""What each kind of stage does, one file a kind. Which stages run, and when, is the sequencer's business.

``run`` of a file does the work of one stage, and raises whatever goes wrong; ``measure`` takes many stages together.
"""

from sparsebench.runner.stages import compress, evaluate, sensitivity, train
from sparsebench.runner.stages.workbench import Workbench

RUN = {
    "train": train.run,
    "compress": compress.run,
    "evaluate": evaluate.run,
    "sensitivity": sensitivity.run,
}

__all__ = ["RUN", "Workbench"]
