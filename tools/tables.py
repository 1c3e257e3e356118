"""Rewrite the tables of README.md and docs/ that are made from records, from the config and from the command line.

    python -m tools.tables            # rewrite them
    python -m tools.tables --check    # fail where one is not what it should be

Such a table stands between ``<!-- table: KIND ARGUMENTS -->`` and ``<!-- end of table -->``. Numbers that were measured
are never copied by hand: the KINDs ``front`` and ``hero`` take them from the data.json of a committed report.
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsebench.wording.numbers import DASH
from tools.fronts import front, hero

ROOT = Path(__file__).parent.parent

_MARKED = re.compile(r"(<!-- table: (?P<what>[^>]+?) -->\n)(?P<body>.*?)(<!-- end of table -->)", re.DOTALL)


def pages(root: Path = ROOT) -> Iterator[Path]:
    """Yield the pages that may have such tables."""
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))


def marked(text: str) -> Iterator[tuple[str, str]]:
    """Yield what each marked table is made from, and its text."""
    for match in _MARKED.finditer(text):
        yield match["what"], match["body"].strip()


def rewritten(text: str, root: Path = ROOT) -> str:
    """Return a page with its marked tables made anew."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{table(match['what'], root)}\n\n{match[4]}", text)


def table(what: str, root: Path = ROOT) -> str:
    """Return the table that a marker asks for."""
    kind, *words = shlex.split(what)
    return _KINDS[kind](root, words)


def file(root: Path, words: Sequence[str]) -> str:
    """Return a file as a block of code, ``file FOLDER PATH``: the reader writes it to PATH, and it lies in FOLDER."""
    folder, path = words
    language = {"py": "python"}.get(ending := path.rpartition(".")[2], ending)
    return f'```{language} title="{path}"\n{(root / folder / path).read_text(encoding="utf-8").rstrip()}\n```'


def config(root: Path, words: Sequence[str]) -> str:
    """Return every key of the config, section by section: ``config``."""
    del root, words
    from sparsebench.config import SECTIONS

    return "\n\n".join(_section(name, model) for name, model in SECTIONS.items())


def default(root: Path, words: Sequence[str]) -> str:
    """Return the embedded default config: ``default``."""
    del root, words
    from sparsebench.config import default_toml

    return f"```toml\n{default_toml().rstrip()}\n```"


def commands(root: Path, words: Sequence[str]) -> str:
    """Return every command with its arguments and options: ``commands``."""
    del root, words
    import typer

    from sparsebench.cli.app import app

    group: Any = typer.main.get_command(app)
    overview = [[f"[`{name}`](#{name})", _text(found.short_help or "")] for name, found in group.commands.items()]
    parts = [grid(["command", "what it does"], overview)]
    for name, found in group.commands.items():
        rows = [[_spelled(each), _text(each.help or DASH)] for each in found.params if not each.hidden]
        parts += [f"## {name}", _text(found.help or ""), grid(["argument or option", "meaning"], rows)]
    return "\n\n".join(parts)


_KINDS: Mapping[str, Callable[[Path, Sequence[str]], str]] = {
    "front": front,
    "hero": hero,
    "file": file,
    "config": config,
    "default": default,
    "commands": commands,
}


def grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of texts, without padding: some cells are long."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows))


def _section(name: str, model: Any) -> str:
    schema = model.model_json_schema()
    heading = f"## {name}" if name else "## The axes"
    about = _text(model.__doc__ or "")
    rows = [
        [f"`{key}`", _text(field.get("description", DASH)), _default(field), _allowed(field)]
        for key, field in schema["properties"].items()
        if not _is_section(field)
    ]
    return f"{heading}\n\n{about}\n\n{grid(['key', 'meaning', 'default', 'allowed'], rows)}"


def _is_section(field: Mapping[str, Any]) -> bool:
    """Whether a field holds keys of its own, which have a section of their own."""
    default = field.get("default")
    return isinstance(default, dict) and bool(default) and "name" not in default


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    if isinstance(value, dict) and "name" in value:
        value = value["name"]
    elif isinstance(value, list):
        value = [part["name"] if isinstance(part, dict) else part for part in value]
    return DASH if value in (None, {}) else f"`{json.dumps(value)}`"


def _allowed(field: Mapping[str, Any]) -> str:
    """Return what a key may be, from its JSON schema; None, which stands for the default, is left out."""
    (one,) = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"][:1]
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "$ref" in one:
        return "a name or a table"
    if one.get("type") == "array":
        return f"a list; each {_allowed(one.get('items', {}))}"
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`", "object": "a table"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits_of_it = [f"{sign} {one[key]:.12g}" for key, sign in signs.items() if key in one]
    return " ".join(filter(None, (kinds.get(one.get("type", ""), "text"), " and ".join(limits_of_it))))


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.opts[-1].lstrip('-').upper()}"
    return f"`{', '.join(parameter.opts)}{value}`"


def _text(words: str) -> str:
    """Return text of the code as Markdown: quoted words as code, and nothing that a table would take for its own."""
    marked_up = re.sub(r"(?<!\w)'([^'`]+)'(?!\w)", r"`\1`", words.replace("``", "`"))
    return " ".join(marked_up.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main() -> int:
    """Rewrite or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a table is not up to date")
    only_check = parser.parse_args().check
    stale = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            stale.append(page.relative_to(ROOT).as_posix())
            if not only_check:
                page.write_text(after, encoding="utf-8")
    if stale:
        print(f"{'Not up to date' if only_check else 'Rewritten'}: {', '.join(stale)}.")
    return int(only_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
