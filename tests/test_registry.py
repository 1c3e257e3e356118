"""Names: how they are found, and what a person reads when they are not."""

import pytest

from sparsebench.errors import SparsebenchError, UnknownNameError
from sparsebench.registry import PRUNERS, SCHEMES, Registry, import_reference


def test_an_unknown_name_suggests_the_nearest_and_lists_the_valid_ones():
    with pytest.raises(UnknownNameError, match=r"pruner 'magnitud' is not known\. Did you mean 'magnitude'\?"):
        PRUNERS.load("magnitud")


def test_an_alias_loads_what_it_stands_for():
    assert SCHEMES.load("post") is SCHEMES.load("static")


def test_a_reference_is_found_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "sparsebench_mine.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    assert import_reference("sparsebench_mine:Mine").__name__ == "Mine"


def test_a_reference_to_a_missing_attribute_suggests_the_nearest(tmp_path, monkeypatch):
    (tmp_path / "sparsebench_other.py").write_text("class Trainer:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SparsebenchError, match=r"has no 'Trainr'\. Did you mean 'Trainer'\?"):
        import_reference("sparsebench_other:Trainr")


def test_a_reference_to_a_missing_module_says_what_to_do():
    with pytest.raises(SparsebenchError, match=r"Cannot import module 'not_there'.*Install the package, or run"):
        import_reference("not_there:Trainer")


@pytest.mark.parametrize("reference", ["os.system", "a b:c", "mod:", ":x", "__import__('os'):x", "a;b:c"])
def test_only_dotted_names_are_references_nothing_else_is_evaluated(reference):
    with pytest.raises(SparsebenchError, match="is no reference"):
        import_reference(reference)


def test_an_installed_package_adds_a_component_through_an_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "extra_pruner-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-pruner\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sparsebench.pruners]\nextra = extra_pruner:Extra\n")
    (tmp_path / "extra_pruner.py").write_text("class Extra:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("pruner", "sparsebench.pruners", {})
    assert "extra" in registry
    assert registry.load("extra").__name__ == "Extra"
