"""A card: all schemes and runtimes of one network on a page, and what changed since an earlier one."""

import json
import re
from dataclasses import replace

import forked
import pytest
import torch
from handmade import Bench

from sparsebench.report.card import Card

RUN = Bench(thresholds=(0.0,), seeds=(0,)).build()


def test_every_scheme_and_runtime_has_a_row_with_what_the_records_say():
    (part,) = Card(RUN).parts
    done = [trial for trial in RUN.trials if trial.evaluated]
    assert [(row["scheme"], row["runtime"]) for row in part.rows] == [
        (trial.trial.scheme, trial.trial.backend) for trial in done
    ]
    assert [row["top-1 %"] for row in part.rows] == [f"{100 * trial.evaluated.top1:.2f}" for trial in done]
    assert part.rows[0]["loss, points [95 %]"] == "baseline"


def test_it_says_which_layers_are_not_int8_and_why():
    notes = Card(RUN).parts[0].notes
    reasons = {layer.reason for trial in RUN.trials for layer in trial.audited if layer.reason and layer.weights}
    assert reasons
    assert any("not int8" in note for note in notes)


def test_what_is_not_offered_stands_there_with_its_reason():
    first, *others = RUN.trials
    missing = replace(first.trial, scheme="qat", not_offered="it <trains>.", compress=None, evaluate=None, measure=())
    run = replace(RUN, trials=(first, *others, type(first)(trial=missing)))
    card = Card(run)
    assert "Without qat on eager: it &#60;trains&#62;." in card.markdown
    assert "it &lt;trains&gt;." in card.html
    assert json.loads(card.json)["not_offered"] == [{"scheme": "qat", "backend": "eager", "reason": "it <trains>."}]


def test_a_page_holds_no_script_and_a_name_does_not_break_out():
    run = replace(RUN, record=replace(RUN.record, name="<script>alert(1)</script>"))
    page = Card(run).html
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_the_same_records_give_the_same_bytes(tmp_path):
    first = Card(RUN, before=RUN).write(tmp_path / "a")
    second = Card(RUN, before=RUN).write(tmp_path / "b")
    assert [p.read_bytes() for p in sorted(first.parent.iterdir())] == [
        p.read_bytes() for p in sorted(second.parent.iterdir())
    ]
    assert {path.name for path in first.parent.iterdir()} == {"card.md", "card.html", "card.json"}


def test_against_an_earlier_run_it_says_what_changed():
    assert "What changed" not in Card(RUN).markdown
    assert "## What changed" in Card(RUN, before=RUN).markdown
    assert json.loads(Card(RUN, before=RUN).json)["changes"] is not None


# -- the command -------------------------------------------------------------------------------------------------------

PROJECT = """
import torch
from quick import CLASSES, load, network

def trained():
    torch.manual_seed(0)
    found = network(CLASSES)
    optimizer = torch.optim.Adam(found.parameters(), 0.01)
    inputs, labels = load()[0][0].tensors
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(found(inputs), labels).backward()
        optimizer.step()
    found[-1].bias.data[0] += SHIFT
    return found

held = trained()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text("SHIFT = 0\n" + PROJECT)
    (folder / "worse.py").write_text("SHIFT = 100\n" + PROJECT)
    names = {}
    exec("SHIFT = 0\n" + PROJECT, names)  # noqa: S102 - the project's own code
    torch.save(names["held"].state_dict(), folder / "net.pth")
    return folder


def card(folder, *arguments):
    return forked.run(["-m", "sparsebench", "card", *arguments, "--backend", "eager", "--no-timing"], folder)


def test_the_command_makes_a_card_of_a_trained_network(folder):
    done = card(folder, "mine:trained", "mine:load", "--name", "before", "-o", "card")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "card" / "card.md").read_text()
    assert re.search(r"\| static +\| eager +\|", done.stdout)
    assert "qat" not in done.stdout
    assert "Nothing is trained" not in done.stdout
    assert "[1/" in done.stderr


def test_a_network_that_lies_in_a_module_and_a_checkpoint_give_the_same_numbers(folder):
    of_object = card(folder, "mine:held", "mine:load", "--name", "held", "--scheme", "static", "--json")
    of_file = card(
        *(folder, "mine:network", "mine:load", "--weights", "net.pth", "--name", "file"),
        *("--scheme", "static", "--json"),
    )
    first, second = (json.loads(done.stdout)["points"] for done in (of_object, of_file))
    assert [point["top1"] for point in first] == [point["top1"] for point in second]
    assert [point["scheme"] for point in first] == ["fp32", "static"]


def test_a_change_for_the_worse_breaks_a_gate(folder):
    card(folder, "mine:trained", "mine:load", "--name", "before")
    gate = ("--against", "before", "--fail-on", "accuracy_drop>0.5pp")
    same = card(folder, "mine:trained", "mine:load", "--name", "again", *gate)
    assert same.returncode == 0, same.stderr
    assert "✓ accuracy_drop" in same.stdout
    worse = card(folder, "worse:trained", "mine:load", "--name", "worse", *gate)
    assert worse.returncode == 1, worse.stderr
    assert "✗ accuracy_drop&#62;0.5pp: broken" in worse.stdout


def test_what_is_no_network_is_said(folder):
    done = card(folder, "mine:CLASSES", "mine:load")
    assert done.returncode == 2
    assert "mine:CLASSES is a int; name a trained network" in done.stderr
