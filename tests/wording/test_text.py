"""Names and texts of users in Markdown, file names and code blocks."""

import re

import pytest

from sparsebench.wording.numbers import decimal, significant
from sparsebench.wording.text import escape, fence, near_file, shorten, slug


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("small_cnn", "small_cnn"),
        ("mine.py:Net v1.2 (fast)", "mine.py:Net v1.2 (fast)"),
        ("a|b", "a&#124;b"),
        ("a\nb\r\n\tc", "a b c"),
        ("`code`", "&#96;code&#96;"),
        ("<script>alert(1)</script>", "&#60;script&#62;alert(1)&#60;/script&#62;"),
        ("</details>", "&#60;/details&#62;"),
        ("[x](javascript:y)", "&#91;x&#93;(javascript:y)"),
        ("![x](../../secret)", "!&#91;x&#93;(../../secret)"),
        ("_soft_ and __init__", "&#95;soft&#95; and &#95;&#95;init&#95;&#95;"),
        ("*hard* ~gone~", "&#42;hard&#42; &#126;gone&#126;"),
        ("$x$ & @who #12", "&#36;x&#36; &#38; &#64;who &#35;12"),
        ("# heading", "&#35; heading"),
        ("- item", "&#45; item"),
        ("1. item", "1&#46; item"),
        ("---", "&#45;--"),
        ("back\\slash", "back&#92;slash"),
        ("&lt;", "&#38;lt;"),
        ("nul\x00 and \u202eturned", "nul\ufffd and \ufffdturned"),
        ("", ""),
    ],
)
def test_text_is_shown_as_it_is(text, escaped):
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("small_cnn", "small-cnn"),
        ("../../etc/passwd", "etc-passwd"),
        ("Ünï/cödé: Net|2", "uni-code-net-2"),
        ("网络", "unnamed"),
        ("", "unnamed"),
        ("a" * 99, "a" * 40),
    ],
)
def test_file_names_hold_letters_digits_and_hyphens_only(text, name):
    assert slug(text) == name
    assert re.fullmatch(r"[a-z0-9-]+", slug(text))


def test_no_backticks_inside_close_a_code_block():
    assert fence("a\n```\nb", "sh") == "````sh\na\n```\nb\n````"


def test_long_texts_are_cut_with_an_ellipsis():
    assert shorten("word " * 100, 20) == "word word word word…"


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert decimal(-1234.5, 1) == "−1,234.5"
    assert decimal(-0.001) == "0.00"
    assert decimal(None) == "–"
    assert [significant(x) for x in (0.01234, 1.5, 123.4, 12345.6, 0.0)] == ["0.0123", "1.50", "123", "12,346", "0.00"]


def test_the_nearest_file_is_one_of_its_kind_and_no_folder(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "folder.pth").mkdir()
    for name in ("dense.pth", "other.txt", "r.toml"):
        (tmp_path / name).touch()
    assert near_file(tmp_path / "r.pth", (".pth", ".pt")) is None
    assert near_file(tmp_path / "dens.pth", (".pth", ".pt")) == tmp_path / "dense.pth"
    assert near_file(tmp_path / "other.toml", (".pth", ".pt")) is None
    assert near_file(tmp_path / "nowhere" / "a.pth", (".pth",)) is None
