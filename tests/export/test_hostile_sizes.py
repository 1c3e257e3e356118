"""Sizes of .pt2 files that somebody else wrote: arithmetic of small numbers, within the limits of the machine."""

import pytest
from archives import (
    MODEL,
    refusal,
    replacing,
    tampered,
)

from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.export.files import sizes
from sparsebench.export.files.timed import open_files


@pytest.mark.parametrize(
    "size",
    [
        "__import__('os').system('touch ran')",
        "Symbol('s0').__class__",
        "Symbol('s0', integer=True).func",
        "Symbol(name='s0')",
        "Dummy('s0')",
        "Lambda(s0, s0)",
        "Function('f')(s0)",
        "S('__import__')",
        "Integer('1')",
        "Integer(1).__class__",
        "Rational('1/2')",
        "Float('9e9999')",
        "Float('1', dps=10**9)",
        "Add(s0, 1, evaluate=False)",
        "Eq(s0, 1) and print(1)",
        "(s0 := 1)",
        "{s0: 1}",
        "s0[0]",
        "s0 @ s1",
        "s0\n1",
        "Symbol('s0', positive=True, integer=open('ran', 'w'))",
        "Symbol('s0; x')",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "exec('1')",
        "Add('a b', 1)",
        "sympify('1')",
        "Integer(10)**10**9",
        "Pow(Integer(9), Pow(Integer(9), Integer(8)))",
        "Pow(Pow(Integer(9), Integer(8)), Integer(8))",
        "Pow(Integer(2), Integer(9999))",
        "Integer(" + "9" * 5000 + ")",
        "Integer(" + "9" * 40 + ")",
        "Add(" * 100 + "1" + ")" * 100,
        "-" * 3000 + "1",
        "LShift(1, 62)",
        "factorial(Integer(99999))",
        "f'{1}'",
        "s0 if s0 else s1",
        "Symbol('s0' * 9)",
        "*s0",
        "",
        None,
        7,
    ],
)
def test_a_size_that_is_more_than_arithmetic_is_refused(size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SparsebenchError, match="has a size that is no arithmetic of at most 4,000 letters and 40 levels"
    ):
        sizes.rewritten(size)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "size",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(16), Symbol('s28', positive=True, integer=True), Symbol('s98', positive=True, integer=True))",
        "Min(Integer(16), Mul(Integer(16), Symbol('s28', positive=True, integer=True)))",
        "FloorDiv(Add(Symbol('s0', integer=True), Integer(-1)), Integer(2))",
        "Pow(Symbol('s0', integer=True), Integer(2))",
        "StrictLessThan(Symbol('u0', integer=True), Integer(20))",
        "ToFloat(Symbol('u0', integer=True))",
        "((s0 * 2) + 1)",
        "Rational(1, 2)",
    ],
)
def test_a_size_as_torch_writes_it_means_the_same(size):
    assert sizes.rewritten(size) == size
    assert sizes.rewritten(sizes.rewritten(size)) == size


def test_a_size_in_a_file_is_refused_with_its_name(good, path):
    tampered(good, path, replacing(MODEL, b"Symbol('", b"__import__('"))
    assert refusal(path).startswith(
        'has a size that is no arithmetic of at most 4,000 letters and 40 levels: "__import__'
    )


def test_text_that_lies_3000_deep_is_refused(good, path):
    tampered(good, path, lambda name, content: b"[" * 3000 + b"]" * 3000 if name == MODEL else content)
    assert "its parts lie more than" in refusal(path)


def test_a_number_of_5000_digits_is_refused(good, path):
    tampered(good, path, lambda name, content: b'{"x": ' + b"9" * 5000 + b"}" if name == MODEL else content)
    assert "is no archive of torch.export (ValueError" in refusal(path)


def test_a_file_larger_than_the_memory_can_hold_is_refused_with_the_limit(good, monkeypatch):
    monkeypatch.setattr("sparsebench.export.files.reading.memory_given", lambda: 4096.0)
    told = refusal(good)
    assert "good.pt2 is" in told
    assert "at most 1.02e-06 GB, a quarter of the memory, can be read on this machine" in told


def test_a_graph_of_more_text_than_any_network_has_is_refused_with_the_limit(good, monkeypatch):
    monkeypatch.setattr("sparsebench.export.files.reading._MOST_TEXT", 10)
    assert refusal(good) == "describes its graph in 0 MB of text; at most 0 MB are read."


def test_inputs_larger_than_the_memory_can_hold_are_refused_with_the_limit(good):
    with pytest.raises(
        ProblemsError, match=r"input 'input' of the shape 2000000000,4 takes 32 GB; all inputs together"
    ):
        open_files([good, good], batch=2 * 10**9)
