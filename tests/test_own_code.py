"""What a user's own code raises is three lines: which callable, what, and where; and it ends no run unseen."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from sweeps import sparsebench, tiny_arguments
from torch.utils.data import DataLoader

from sparsebench import load_run
from sparsebench.data import load_splits
from sparsebench.errors import DataError, Ending, ModelError, UserCodeError
from sparsebench.models import build_model, check_outputs
from sparsebench.registry import import_reference
from sparsebench.user_code import own_code

OWN = """
    import json, os, sys
    import torch
    from torch import nn
    from torch.utils.data import Dataset, TensorDataset
    from sparsebench import Trainer


    class Net(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, num_classes)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))


    class Forgetful(Net):
        def forward(self, x):
            if self.training:
                json.loads("{")
            return super().forward(x)


    def leaves(num_classes):
        sys.exit(0)


    def rows():
        labels = torch.arange(64) % 2
        return [TensorDataset(torch.rand(64, 4) + labels[:, None], labels) for _ in range(3)], 2


    class Torn(Dataset):
        def __len__(self):
            return 64

        def __getitem__(self, index):
            if index > 9:
                raise KeyError(f"no row \\ud800 {index}")
            return torch.rand(4), index % 2


    def torn():
        return [Torn(), Torn(), Torn()], 2


    class Silent(Exception):
        def __str__(self):
            raise ValueError


    def silent():
        raise Silent


    class Leaves(Trainer):
        def train_loop(self, *arguments):
            sys.exit(0)


    class Vanishes(Trainer):
        def train_loop(self, *arguments):
            os._exit(0)


    def spills(samples):
        return samples[0][3]
"""


def line_of(text):
    return next(n for n, line in enumerate(textwrap.dedent(OWN).splitlines(), 1) if text in line)


@pytest.fixture
def own(tmp_path, monkeypatch):
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def told(function, *arguments):
    with pytest.raises(UserCodeError) as caught:
        function(*arguments)
    assert caught.value.__cause__ is not None
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    str(caught.value).encode()
    return lines


def test_a_factory_that_raises_is_three_lines(own):
    path = Path.cwd() / f"{own}.py"
    assert told(build_model, f"{own}:leaves", 2, (4,)) == [
        f"Model '{own}:leaves' raised an error:",
        "It called sys.exit(0), which would have ended the run; raise an error, or return.",
        f"In {path}, line {line_of('sys.exit(0)')}, leaves.",
    ]
    assert told(load_splits, f"{own}:silent")[1] == "Silent: (its text cannot be made: ValueError)"


@pytest.mark.parametrize(
    ("text", "what"), [("1 +", "SyntaxError: "), ("print(x)", "NameError: "), ("exit(3)", "It called")]
)
def test_a_module_that_cannot_be_imported_says_where(tmp_path, monkeypatch, text, what):
    (tmp_path / "broken_module.py").write_text(f"y = 0\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    lines = told(import_reference, "broken_module:y")
    assert lines[0] == "Module 'broken_module:y' raised an error:"
    assert lines[1].startswith(what)
    assert lines[2] == f"In {tmp_path / 'broken_module.py'}, line 2, <module>."


def test_what_a_loaders_worker_process_raised_is_told_from_there(own):
    (train, _, _), _ = import_reference(f"{own}:torn")()

    def read():
        with own_code(("model", f"{own}:Net"), ("dataset", f"{own}:torn")):
            list(DataLoader(train, batch_size=8, num_workers=1))

    lines = told(read)
    assert lines[0] == f"Dataset '{own}:torn' raised an error:"
    assert lines[1].startswith("KeyError: 'no row ")
    assert f"line {line_of('raise KeyError')}, __getitem__" in lines[2]


def test_the_innermost_callable_that_was_running_is_named(own):
    net = build_model(f"{own}:Forgetful", 2, (4,)).train()

    def forward():
        with own_code(("trainer", f"{own}:Leaves"), ("model", f"{own}:Forgetful")):
            net(None)

    lines = told(forward)
    assert lines[0] == f"Model '{own}:Forgetful' raised an error:"
    assert lines[1].startswith("JSONDecodeError: Expecting property name")
    assert f"line {line_of('json.loads')}, Forgetful.forward" in lines[2], "the json module is no user's own"


def test_a_network_that_cannot_take_the_data_says_where(own):
    net = build_model(f"{own}:Net", 2, (4,))
    with pytest.raises(
        ModelError, match=rf"RuntimeError: .*options that fit .* In .*, line {line_of('relu')}, Net\.forw"
    ):
        check_outputs(net, (torch.rand(2, 5),), 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Ending(143), DataError("ours")])
def test_interrupts_and_errors_of_ours_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, own_code(("model", "mine:net")):
        raise error
    assert caught.value is error


def test_what_no_line_of_a_users_own_has_a_part_in_stays_as_it_is():
    code = "import json\nfrom sparsebench.user_code import own_code\nwith own_code(('model', None)): json.loads('{')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")


def run(own, *overrides, jobs="1", options=()):
    arguments = tiny_arguments(
        "schemes=fp32", "thresholds=0", "train.epochs=1", "train.batch_size=8", "model.options={}",
        f"model.name={own}:Net", f"data.name={own}:rows", *overrides,
    )  # fmt: skip
    return sparsebench("run", *arguments, "--jobs", jobs, *options, "--no-report", cwd=Path.cwd())


@pytest.mark.parametrize(
    ("override", "jobs", "sentence"),
    [
        ("train.trainer={}:Leaves", "1", "It called sys.exit(0)"),
        ("train.trainer={}:Vanishes", "2", "The worker process died while it ran this stage (exit code 0)."),
    ],
)
def test_a_trainer_that_would_end_the_process_is_a_failed_trial(own, override, jobs, sentence):
    done = run(own, override.format(own), jobs=jobs, options=("--no-check",))
    assert done.returncode == 3, done.stderr
    failure = load_run(Path("runs/tiny")).trials[0].failed_stage.failure
    assert sentence in failure.message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("trainer", "call"), [("Leaves", "sys.exit(0)"), ("Vanishes", "os._exit(0)")])
def test_a_trainer_that_would_end_the_process_is_refused_by_the_batch_before_any_work(own, trainer, call):
    done = run(own, f"train.trainer={own}:{trainer}")
    assert done.returncode == 2, done.stderr
    assert f"Trainer '{own}:{trainer}' raised an error:\n    It called {call}" in done.stderr


def test_a_model_that_would_end_the_process_is_refused_before_any_work(own):
    done = run(own, f"model.name={own}:leaves")
    assert done.returncode == 2
    assert f"Model '{own}:leaves' raised an error:\n    It called sys.exit(0)" in done.stderr


def test_a_collate_function_that_raises_is_three_lines_and_the_whole_where_it_is_asked_for(own):
    done = run(own, f"data.collate={own}:spills")
    assert done.returncode == 2
    first, second, third = done.stderr[done.stderr.index("Collate function") :].splitlines()
    assert first == f"Collate function '{own}:spills' raised an error:"
    assert second.strip() == "IndexError: tuple index out of range"
    assert third.strip() == f"In {Path.cwd() / own}.py, line {line_of('samples[0][3]')}, spills."
    whole = run(own, f"data.collate={own}:spills", options=("--traceback",))
    assert "Traceback (most recent call last)" in whole.stderr
    assert "return samples[0][3]" in whole.stderr
