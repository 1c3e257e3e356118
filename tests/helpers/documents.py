"""The pages of the documentation, and the blocks of code that they show."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        where: page and line, for messages.
        language: of its content.
        title: the file that it is the content of; empty where it is none.
        note: what the comment right before it says to the tests: ``not run: why`` or ``exit code 0, 1 or 4``.
        text: its content.
    """

    where: str
    language: str
    title: str
    note: str
    text: str

    @property
    def is_run(self):
        return not self.note.startswith("not run:")

    @property
    def exit_codes(self):
        """Exit codes that its commands may end with."""
        codes = self.note.removeprefix("exit code") if self.note.startswith("exit code") else "0"
        return {int(code) for code in re.findall(r"\d+", codes)}

    @property
    def commands(self):
        """Its lines as words, with comments left out and continued lines joined."""
        lines = (shlex.split(line, comments=True) for line in self.text.replace("\\\n", " ").splitlines())
        return [words for words in lines if words]


def blocks(page):
    found, note = [], ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            language, *words = shlex.split(token.info) or [""]
            titled = dict(word.partition("=")[::2] for word in words)
            where = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
            found.append(Block(where, language, titled.get("title", ""), note, token.content))
        comment = _COMMENT.fullmatch(token.content.strip()) if token.type == "html_block" else None
        note = comment[1] if comment else ""
    return found


def links(page):
    """The targets of links and images, without those to other sites and to places on the same page."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    inside = [child for token in tokens for child in token.children or ()]
    targets = [child.attrGet("href") or child.attrGet("src") for child in inside]
    return [target.partition("#")[0] for target in targets if target and "://" not in target and target[0] != "#"]


def tables(page):
    """The tables, each with the first line of it and its cells row by row, the heading first."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    found, row, inside = [], [], False
    for token in tokens:
        if token.type == "table_open":
            found.append((token.map[0], []))
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            found[-1][1].append(row)
        elif token.type in ("th_open", "td_open"):
            inside = True
        elif token.type == "inline" and inside:
            row.append(token.content)
            inside = False
    return found
