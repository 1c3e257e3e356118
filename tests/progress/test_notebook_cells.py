"""Progress below the cell of a notebook: one output that is renewed."""

import sys
from types import SimpleNamespace

import rich
from plans import FACTS, plan

from sparsebench.progress import notebook
from sparsebench.progress.notebook import Cell, in_notebook

PLAN = plan("seeds=0", "thresholds=0,0.5", "schemes=fp32", "measure.batch_sizes=[]", facts=FACTS)


class Page:
    """What a notebook shows: its outputs, and how often each was renewed."""

    def __init__(self):
        self.outputs, self.renewed = [], 0

    def __call__(self, content):
        self.outputs.append(content)

        def renew(content):
            self.outputs[-1] = content
            self.renewed += 1

        return renew


def pending():
    return dict.fromkeys((stage.key for stage in PLAN.stages), "pending")


def test_a_cell_has_one_output_with_what_is_run_and_what_is_left():
    page = Page()
    with Cell(page) as cell:
        cell.planned(PLAN, pending())
        cell.started(PLAN.stages[0])
        cell.noted("The <b>data</b> have no validation split.")
        assert "training small_cnn" in page.outputs[-1]
    assert len(page.outputs) == 1
    assert f'max="{len(PLAN.stages)}"' in page.outputs[0]
    assert "The &lt;b&gt;data&lt;/b&gt; have no validation split." in page.outputs[0]
    assert "training small_cnn" not in page.outputs[0]


def test_it_is_renewed_a_few_times_a_second_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now[0])
    page = Page()
    cell = Cell(page)
    cell.planned(PLAN, pending())
    before = page.renewed
    for _ in range(100):
        now[0] += 0.01
        cell.started(PLAN.stages[0])
    assert 2 <= page.renewed - before <= 5


def test_a_finished_run_that_is_started_again_shows_nothing():
    page = Page()
    with Cell(page) as cell:
        cell.planned(PLAN, dict.fromkeys(pending(), "done"))
    assert page.outputs == []


def test_only_the_kernel_of_a_notebook_is_one(monkeypatch):
    def shell(name):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: type(name, (), {})()))
        return in_notebook()

    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    assert not shell("TerminalInteractiveShell")
    assert shell("ZMQInteractiveShell")


def test_bars_of_libraries_are_no_outputs_of_the_cell_meanwhile():
    console = rich.get_console()
    with Cell(Page()):
        assert console.quiet
    assert not console.quiet
