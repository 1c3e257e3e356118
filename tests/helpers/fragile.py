"""A trainer that kills its own process, once, where the environment says: for tests of crash safety."""

import os
import signal
from pathlib import Path

from sparsebench import Trainer


def die_once(moment):
    """Kill this process as the system would, unless that was done before."""
    if os.environ.get("DIE_AT") != moment:
        return
    marker = Path(os.environ["DIED"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class Fragile(Trainer):
    steps = 0

    def training_step(self, *arguments, **keywords):
        self.steps += 1
        if self.steps == 20:
            die_once("training")
        return super().training_step(*arguments, **keywords)

    def evaluate(self, net, quant_mode):
        if quant_mode:
            net.register_forward_hook(lambda *_: die_once("calibration"))
        return super().evaluate(net, quant_mode)
