import abc
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparsebench.errors import ContractError, SparsebenchError
from sparsebench.training.contract import SETTINGS, apply_settings, check_evaluated, check_trained, check_trainer
from sparsebench.training.trainer import Trainer


class Sound:
    def __init__(self, pruning=False, ddtype=torch.float, datasets=None, models_path=None, cuda="cuda:0"): ...
    def load_dataloaders(self, batch_size, collate_fn): ...
    def train(self, net, parameters, name, epochs, reload, old_net): ...
    def evaluate(self, net, quant_mode): ...


def problems(cls) -> tuple[str, ...]:
    with pytest.raises(ContractError) as caught:
        check_trainer(cls)
    return caught.value.problems


def test_sound_trainers_pass():
    check_trainer(Sound)
    check_trainer(Trainer)


def test_a_trainer_that_takes_anything_passes():
    class Anything(Sound):
        def __init__(self, *args, **options): ...
        def train(self, **call): ...
        def evaluate(self, net, **rest): ...

    check_trainer(Anything)


def test_static_and_class_methods_pass():
    class Unusual(Sound):
        @staticmethod
        def evaluate(net, quant_mode): ...
        @classmethod
        def load_dataloaders(cls, batch_size, collate_fn): ...

    check_trainer(Unusual)


def test_every_fault_is_listed_at_once():
    class Wrong:
        def __init__(self, pruning=False, datasets=None): ...
        def load_dataloaders(self, batch, collate_fn): ...
        def train(self, net, parameters, name, epochs, reload, old_net, verbose): ...
        @property
        def evaluate(self): ...

    assert problems(Wrong) == (
        "__init__: 'ddtype' is not a parameter; 'models_path' is not a parameter; 'cuda' is not a parameter. "
        "Expected __init__(self, pruning=False, ddtype=torch.float, datasets=None, models_path=None, "
        'cuda="cuda:0"), found __init__(self, pruning=False, datasets=None).',
        "load_dataloaders: 'batch_size' is not a parameter (rename 'batch'); 'batch' is required but never passed, so "
        "give it a default. Expected load_dataloaders(self, batch_size, collate_fn), found "
        "load_dataloaders(self, batch, collate_fn).",
        "train: 'verbose' is required but never passed, so give it a default. Expected "
        "train(self, net, parameters, name, epochs, reload, old_net), found "
        "train(self, net, parameters, name, epochs, reload, old_net, verbose).",
        "evaluate is a property; make it a method, expected evaluate(self, net, quant_mode).",
    )


def test_a_missing_method_is_named_with_the_nearest_there_is():
    class Missing(Sound):
        evaluate = None
        load_dataloaders = None

        def load_dataloader(self, batch_size, collate_fn): ...

    assert problems(Missing) == (
        "load_dataloaders is missing (is it load_dataloader?); "
        "expected load_dataloaders(self, batch_size, collate_fn).",
        "evaluate is missing; expected evaluate(self, net, quant_mode).",
    )


def test_parameters_by_position_only_are_a_fault():
    class Positional(Sound):
        def evaluate(self, net, /, quant_mode): ...

    assert problems(Positional)[0].startswith("evaluate: 'net' is taken by position only, but is passed by name.")


def test_what_is_no_method_is_a_fault():
    class Odd(Sound):
        train = 3

        async def evaluate(self, net, quant_mode): ...

    assert problems(Odd) == (
        "train is an int (3); make it a method, expected train(self, net, parameters, name, epochs, reload, old_net).",
        "evaluate is a coroutine or a generator; make it a plain method, expected evaluate(self, net, quant_mode).",
    )


def test_an_abstract_class_is_a_fault():
    class Abstract(Sound, abc.ABC):
        @abc.abstractmethod
        def criterion(self): ...

    assert problems(Abstract) == ("Abstract is abstract; define criterion.",)


@pytest.mark.parametrize("value", [Sound(), None, "mine:Trainer", lambda: None])
def test_what_is_no_class_is_refused(value):
    assert problems(value)[0].endswith("is no class; give the trainer class itself, not an instance of it.")


def test_a_training_loop_of_ones_own_may_name_its_parameters_freely():
    class Own(Trainer):
        def train_loop(self, net, optim, sched, title, passes, sparsity): ...

    check_trainer(Own)


def test_a_training_loop_that_the_inherited_train_cannot_call_is_a_fault():
    class Short(Trainer):
        def train_loop(self, model, optimizer): ...

    assert problems(Short) == (
        "train_loop: too many positional arguments. Expected train_loop(self, model, optimizer, scheduler, name, "
        "epochs, threshold), found train_loop(self, model, optimizer).",
    )


def test_a_training_loop_beside_a_train_of_ones_own_is_ones_own_matter():
    class Both(Sound):
        def train_loop(self, net): ...

    class Private(Sound):
        def train(self, net, parameters, name, epochs, reload, old_net): ...
        def train_loop(self, net): ...

    check_trainer(Private)
    assert len(problems(Both)) == 1


def test_train_must_return_a_network():
    net = nn.Linear(1, 1)
    assert check_trained(net) is net
    with pytest.raises(ContractError, match="train returned None for small_cnn; return the trained network"):
        check_trained(None, "small_cnn")
    with pytest.raises(ContractError, match="train returned a dict; return the trained network"):
        check_trained({})


@pytest.mark.parametrize("accuracy", [0, 1, 0.5, np.float64(0.5), np.float32(0.5), torch.tensor(0.5)])
def test_evaluate_may_return_any_real_number_from_0_to_1(accuracy):
    net = nn.Linear(1, 1)
    found, returned = check_evaluated((accuracy, net))
    assert type(found) is float
    assert found == float(accuracy)
    assert returned is net


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (0.93, r"evaluate returned a float \(0\.93\); return \(accuracy, network\)"),
        (None, r"evaluate returned None; return \(accuracy, network\)"),
        ((0.9, 1.2, nn.ReLU()), r"evaluate returned a tuple of 3; return \(accuracy, network\)"),
        ((nn.ReLU(), 0.9), r"evaluate returned \(network, accuracy\); return \(accuracy, network\)"),
        (
            (93.0, nn.ReLU()),
            r"accuracy 93; return a fraction from 0 to 1. It looks like a percentage; divide it by 100",
        ),
        ((-0.5, nn.ReLU()), r"accuracy -0\.5; return a fraction from 0 to 1\.$"),
        ((float("nan"), nn.ReLU()), r"accuracy nan; return the samples classified rightly over those seen"),
        ((True, nn.ReLU()), r"evaluate returned a bool \(True\) as the accuracy"),
        (("0.9", nn.ReLU()), r"evaluate returned a str as the accuracy"),
        ((torch.ones(3), nn.ReLU()), r"evaluate returned a Tensor as the accuracy"),
        ((0.9, {}), r"evaluate returned a dict as the network; return the network that it evaluated"),
    ],
)
def test_what_else_evaluate_returns_is_refused(returned, text):
    with pytest.raises(ContractError, match=text):
        check_evaluated(returned)


def test_settings_are_set_where_the_class_or_a_base_declares_them():
    class Base:
        pruner: str
        hold = 0.0

    class Mine(Base):
        amp: Any = "none"

    mine = Mine()
    wanted = {"pruner": "magnitude", "hold": 0.5, "amp": "bf16", "schedule": "cubic"}
    assert apply_settings(mine, wanted) == ("pruner", "hold", "amp")
    assert (mine.pruner, mine.hold, mine.amp) == ("magnitude", 0.5, "bf16")
    assert not hasattr(mine, "schedule")
    assert Base.hold == 0.0


def test_the_reference_trainer_declares_every_setting():
    trainer = Trainer.__new__(Trainer)
    assert apply_settings(trainer, dict.fromkeys(SETTINGS, 1)) == SETTINGS


def test_a_method_or_a_fixed_property_by_the_name_of_a_setting_is_left_alone():
    class Mine:
        def schedule(self): ...
        @property
        def pruner(self):
            return "own"

    assert apply_settings(Mine(), {"schedule": "cubic", "pruner": "magnitude"}) == ()


def test_a_name_that_is_no_setting_is_refused():
    with pytest.raises(SparsebenchError, match=r"setting 'holds' is not known\. Did you mean 'hold'"):
        apply_settings(Sound(), {"holds": 1})
