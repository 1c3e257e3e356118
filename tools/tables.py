"""Rewrite the tables of README.md and docs/ that are made from records, from the config and from the command line.

    python -m tools.tables            # rewrite them
    python -m tools.tables --check    # fail where one is not what it should be

Such a table stands between ``<!-- table: KIND ARGUMENTS -->`` and ``<!-- end of table -->``. Numbers that were measured
are never copied by hand: KIND ``results`` takes them from the data.json of a committed report.
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsebench.report.numbers import DASH, decimal, kilobytes, limits, percent, ratio, significant

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
    options = dict(word.split("=", 1) for word in words if "=" in word)
    return _KINDS[kind](root, [word for word in words if "=" not in word], options)


def results(root: Path, words: Sequence[str], options: Mapping[str, str]) -> str:
    """Return operating points of a report: ``results REPORT/data.json thresholds=0,0.8 schemes=fp32,static``."""
    data = json.loads((root / words[0]).read_text(encoding="utf-8"))
    thresholds = [float(value) for value in options["thresholds"].split(",")]
    schemes = options["schemes"].split(",")
    points = [p for p in data["points"] if p["threshold"] in thresholds and p["scheme"] in schemes]
    batch, threads = (points[0]["latency"][0][key] for key in ("batch_size", "threads"))
    heading = [
        *("pruning", "scheme", "backend", "top-1 %", "drop, pp [95 %]", "deflated kB"),
        *(f"latency, ms (batch {batch})", "speedup [95 %]", "verdict"),
    ]
    return (
        f"{grid(heading, [_point(point) for point in points], numbers_from=3)}\n\n{_made_on(data, points[0], threads)}"
    )


def config(root: Path, words: Sequence[str], options: Mapping[str, str]) -> str:
    """Return the keys of a section of the config: ``config SweepConfig``."""
    del root, options
    from sparsebench import config as module

    schema = getattr(module, words[0]).model_json_schema()
    rows = [
        [f"`{key}`", _default(field), _allowed(field, schema), _text(field.get("description", DASH))]
        for key, field in schema["properties"].items()
    ]
    return grid(["key", "default", "allowed", "meaning"], rows)


def command(root: Path, words: Sequence[str], options: Mapping[str, str]) -> str:
    """Return the arguments and options of a command: ``command run``; of all commands their names: ``command``."""
    del root, options
    import typer

    from sparsebench.cli import app

    group: Any = typer.main.get_command(app)
    if not words:
        rows = [
            [f"`sparsebench {name}`", _text(found.get_short_help_str(200))] for name, found in group.commands.items()
        ]
        return grid(["command", "what it does"], rows)
    found = group.commands[words[0]]
    rows = [
        [_spelled(p), _text(getattr(p, "help", "") or DASH)] for p in found.params if not getattr(p, "hidden", False)
    ]
    return grid(["argument or option", "meaning"], rows)


_KINDS: Mapping[str, Callable[[Path, Sequence[str], Mapping[str, str]], str]] = {
    "results": results,
    "config": config,
    "command": command,
}


def grid(heading: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    """Return a Markdown table; columns from ``numbers_from`` on are set to the right."""
    right = len(heading) if numbers_from is None else numbers_from
    rule = ["---" if place < right else "---:" for place in range(len(heading))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, rule, *rows))


def _point(point: Mapping[str, Any]) -> list[str]:
    top1, drop = point["top1"], point["drop"]
    latency = next(iter(point["latency"]), None)
    own = latency and latency["own"]
    dense = point["pruner"] == "dense"
    return [
        "dense" if dense else f"{point['pruner']} {point['threshold']:g}",
        point["scheme"],
        point["backend"],
        f"{percent(top1['mean'])} ± {percent(top1['std'])}",
        "baseline" if dense and point["scheme"] == "fp32" else _drop(drop),
        kilobytes(point["deflated_file_bytes"]),
        significant(latency["median_ms"]["mean"]) if latency else DASH,
        f"{ratio(own['speedup'])} {limits(own['low'], own['high'], 3)}" if own else DASH,
        own["verdict"] if own else DASH,
    ]


def _drop(drop: Mapping[str, Any] | None) -> str:
    return f"{decimal(drop['pp'])} {limits(drop['low_pp'], drop['high_pp'])}" if drop else DASH


def _made_on(data: Mapping[str, Any], point: Mapping[str, Any], threads: int) -> str:
    environment, versions = data["run"]["environment"], data["run"]["environment"]["versions"]
    seeds, cores = len(data["run"]["seeds"]), environment["logical_cores"]
    return (
        f"*{point['model']} on {point['data']}, {seeds} seed{'s' * (seeds != 1)}; {environment['cpu']}, "
        f"{cores} cores, {threads} thread{'s' * (threads != 1)}; torch {versions['torch']}.*"
    )


def _default(field: Mapping[str, Any]) -> str:
    if "default" not in field:
        return DASH
    value = field["default"]
    if isinstance(value, list):
        value = [part["name"] if isinstance(part, dict) and "name" in part else part for part in value]
    elif isinstance(value, dict):
        return f"`{value['name']}`" if "name" in value else "as below"
    return DASH if value is None or value == {} else f"`{json.dumps(value)}`"


def _allowed(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    choices = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"]
    one = choices[0]
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "$ref" in one:
        return "a table"
    if one.get("type") == "array":
        items = one.get("items", {})
        return f"a list: {_allowed(items, schema)}" if "$ref" not in items else "names or tables"
    if one.get("type") == "object":
        return "a table"
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    words = [kinds.get(one.get("type", ""), "text")]
    for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
        if key in one:
            words.append(f"{sign} {one[key]:g}")
    return " ".join(words)


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.human_readable_name}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return f"`{', '.join(parameter.opts)}{value}`"


def _text(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


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
