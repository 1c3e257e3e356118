"""A trainer and a network that note, in the file that the environment names, what is done, where and by whom."""

import os
import time

from sparsebench import Trainer
from sparsebench.models.small_cnn import small_cnn
from sparsebench.runner.rehearsal import PREFIX


def note(what):
    """Append a line; such short ones are never torn."""
    if path := os.environ.get("COUNTED"):
        with open(path, "a") as file:
            file.write(f"{what} {os.environ.get('WHERE', 'here')} {os.getpid()}\n")


def network(num_classes, input_shape, width=8):
    note("build")
    return small_cnn(num_classes, input_shape, width)


class Counting(Trainer):
    def train(self, net, parameters, name, epochs, reload, old_net):
        if PREFIX in self.models_path:  # The batch that goes the whole way before any work.
            return super().train(net, parameters, name, epochs, reload, old_net)
        note("train")
        time.sleep(float(os.environ.get("SECONDS_MORE", 0)))
        return super().train(net, parameters, name, epochs, reload, old_net)

    def evaluate(self, net, quant_mode):
        if not quant_mode and PREFIX not in self.models_path:
            note("evaluation")
        return super().evaluate(net, quant_mode)


class HangsWhenSparse(Counting):
    def train(self, *arguments, **keywords):
        if self.pruning:
            note("hang")
            time.sleep(600)
        return super().train(*arguments, **keywords)
