"""The example of a notebook is run as it stands, in a kernel of its own."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"

nbclient = pytest.importorskip("nbclient", reason="nbclient comes with the extra dev")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")


def outputs(notebook, kind):
    """Return what cells show in a form, by the number of the cell."""
    return {
        number: "".join(one["data"].get(kind, "") for one in cell.outputs if "data" in one)
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
    }


def printed(notebook):
    return "".join(
        one["text"] for cell in notebook.cells for one in cell.get("outputs", ()) if one["output_type"] == "stream"
    )


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copy(NOTEBOOK, folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook, folder


@pytest.mark.slow
def test_classes_of_cells_are_swept_on_three_runtimes_with_progress(executed):
    notebook, folder = executed
    sweep = outputs(notebook, "text/html")[3]
    assert "<progress" in sweep
    assert "12 trials in" in sweep
    assert "failed" not in sweep
    assert (folder / "runs/stripes/run.json").is_file()


@pytest.mark.slow
def test_the_run_shows_its_answer_table_and_figures(executed):
    shown = outputs(executed[0], "text/html")[4]
    assert "12 of 12 trials done" in shown
    assert "<table>" in shown
    assert shown.count("data:image/svg+xml;base64,") == 2


@pytest.mark.slow
def test_a_pick_is_exported_and_computes_the_same_when_it_is_loaded_again(executed):
    notebook, folder = executed
    assert "PICKED" in outputs(notebook, "text/plain")[6] or "OPEN" in outputs(notebook, "text/plain")[6]
    assert (folder / "stripes.onnx").is_file()
    assert printed(notebook).startswith("True ")


def test_the_notebook_in_the_repository_has_been_run():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert "12 of 12 trials done" in outputs(notebook, "text/html")[4]
    assert printed(notebook).startswith("True ")
