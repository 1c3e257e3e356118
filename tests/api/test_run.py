"""A run in the hands of a person: what it shows, and what can be asked of it."""

from dataclasses import replace

import pytest
import quick
import torch
from handmade import Bench
from torch import nn

from sparsebench import load_run, run_sweep, sweep
from sparsebench.api.run import Run
from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.report import run_ending

RUN = Bench().build()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_sweep(quick.quick(), runs_dir=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    return Run.of(RUN, tmp_path_factory.mktemp("big"))


def test_its_text_is_the_answer_and_no_dump_of_records(big):
    text = repr(big)
    assert text.startswith("Run ")
    assert "trials done, in " in text
    assert len(text) < 3000
    answer = run_ending(RUN, ("x",), 110).partition("\n\nNext:")[0]
    assert answer in text


def test_in_a_notebook_it_is_the_answer_the_table_and_pictures(big):
    shown = big._repr_html_()
    assert shown.count("<table>") == 1
    assert "<b>Smallest:</b>" in shown
    assert shown.count("data:image/svg+xml;base64,") == 2
    assert "**" not in shown


def test_names_do_not_break_out_of_the_page(run):
    record = replace(run.record, name="<script>alert(1)</script>")
    shown = Run.of(replace(run, record=record), run.root, notes=("<b>x</b>",))._repr_html_()
    assert "<script>" not in shown
    assert "&lt;b&gt;x" in shown


def test_it_reads_back_as_it_was(run):
    again = load_run(run.root)
    assert again == run
    assert again.frame().shape[0] == len(run.trials)


def test_a_network_is_ready_to_be_called(run):
    inputs, labels = quick.load()[0][2].tensors
    for trial in run.trials:
        right = float((run.network(trial)(inputs).argmax(1) == labels).double().mean())
        assert right == pytest.approx(trial.evaluated.top1)


def test_a_network_with_dropout_comes_back_in_evaluation_mode(tmp_path):
    (data, *others), classes = quick.load()
    layers = (nn.Flatten(), nn.Linear(16, 8), nn.Dropout(), nn.ReLU(), nn.Linear(8, classes))
    found = sweep(
        *(nn.Sequential(*layers), (data, *others)),
        thresholds=[0],
        schemes=["fp32", "static", "dynamic"],
        measure={"batch_sizes": []},
        runs_dir=tmp_path,
        progress=False,
    )
    for trial in found.trials:
        modules = [*found.network(trial).modules()]
        assert not any(module.training for module in modules if isinstance(module, nn.Dropout)), trial.trial.label


def test_code_of_a_run_that_was_only_read_is_not_run_unasked(run):
    with pytest.raises(SparsebenchError, match="give trust=True"):
        load_run(run.root).network("dense fp32")
    assert load_run(run.root).network("dense fp32", trust=True)(torch.zeros(1, 1, 4, 4)).shape == (1, 3)


def test_a_pick_reads_as_the_command_prints_it_and_can_be_exported(run, tmp_path):
    picked = run.pick(max_drop="50pp", minimize="size", accept_open=True)
    assert picked
    assert f'run.export("{picked.trial.trial.evaluate[:12]}")' in repr(picked)
    done = run.export(picked, out=tmp_path / "net.pt2")
    assert done.path.exists()


def test_a_wrong_argument_of_a_pick_has_the_name_that_it_has_here(run):
    with pytest.raises(ProblemsError, match=r"max_deflated_size lots: ") as raised:
        run.pick(max_deflated_size="lots", minimize="beauty")
    assert len(raised.value.problems) == 2
    assert "--" not in str(raised.value)


def test_runs_are_compared_and_gates_judged(run):
    found = run.compare(run, fail_on=["accuracy_drop>0.5pp"])
    assert found.kept
    assert "quick" in repr(found)
    with pytest.raises(SparsebenchError, match="compare by 'point' or by 'trial'"):
        run.compare(run, by="seed")


def test_it_goes_on_where_another_sweep_has_taken_its_place(run, tmp_path):
    first = run_sweep(quick.quick(), runs_dir=tmp_path, progress=False)
    run_sweep(quick.quick("thresholds=0", "schemes=dynamic"), runs_dir=tmp_path, progress=False)
    done = first.export("0.8 fp32", to="pt2", out=tmp_path / "net.pt2")
    assert done.path.exists()


def test_a_report_is_written_where_one_says(run, tmp_path):
    assert "# quick: pruning and quantization" in run.report(tmp_path / "report").read_text()


def test_what_is_not_there_is_named(run):
    with pytest.raises(SparsebenchError, match="No trial of this run is called 'int4'"):
        run.network("int4")
    with pytest.raises(SparsebenchError, match=r"(?i)format 'zip' is not known"):
        run.export("dense fp32", to="zip")


def test_progress_is_shown_on_stderr_and_silence_is_kept(tmp_path, capsys):
    run_sweep(quick.quick("thresholds=0", "schemes=fp32"), runs_dir=tmp_path)
    assert "[1/" in capsys.readouterr().err
    run_sweep(quick.quick("thresholds=0", "schemes=fp32", "name=silent"), runs_dir=tmp_path, progress=False)
    assert capsys.readouterr().err == ""


def test_a_network_that_was_trained_on_is_compared_with_what_it_was(tmp_path):
    splits, classes = quick.load()
    network = quick.network(classes)

    def swept(name):
        return sweep(
            *(network, splits),
            name=name,
            thresholds=[0],
            schemes=["fp32"],
            measure={"batch_sizes": []},
            runs_dir=tmp_path,
            progress=False,
        )

    before = swept("before")
    with torch.no_grad():
        network[-1].bias[0] += 100
    found = before.compare(swept("after"), fail_on=["accuracy_drop>0.5pp"])
    assert len(found.comparison.rows) == 1
    assert found.comparison.rows[0].first("accuracy_drop").paired
    assert "accuracy_drop" in repr(found)
