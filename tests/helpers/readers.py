"""A reader who follows a page of the documentation: writes its files, runs its commands, types in its Python."""

import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import torch
import yaml
from documents import ROOT
from patience import LONG
from plugin import PLUGIN
from quick_sweeps import load_config

import sparsebench.api.asked
import sparsebench.api.sweeps
import sparsebench.cli.app as cli
import sparsebench.config
import sparsebench.runner.sequencer
import sparsebench.timing
from sparsebench import registry
from sparsebench.cli.conventions import NO_VERDICT
from sparsebench.timing import protocol

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PYPROJECT["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
CPU_ONLY = ["torch", "torchvision", "--index-url", "https://download.pytorch.org/whl/cpu"]
"""What PyTorch's own installation guide says for machines without a GPU."""

BRIEF = {"workers": False, "block_ms": 1, "seconds_cap": 0.1}


def brief_compare(variants, **settings):
    return protocol.compare(variants, **settings | BRIEF)


class Reader:
    """Follows the blocks of one page in a folder of its own.

    Args:
        folder: the reader's project.
        monkeypatch: undoes what the reader does to this process.
    """

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        for module in (sparsebench.config, sparsebench.runner.sequencer, sparsebench.api.sweeps):
            monkeypatch.setattr(module, "load_config", load_config)
        monkeypatch.setattr(sparsebench.timing, "compare", brief_compare, raising=False)
        # Figures would take longer than all else.
        monkeypatch.setattr("sparsebench.report.write.drawings", lambda *_: ())
        self.set_argv = partial(monkeypatch.setattr, sys, "argv")
        self.set_environment = monkeypatch.setenv
        layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)]
        network, quantized = torch.nn.Sequential(*layers).eval(), torch.nn.Sequential(*layers).eval()
        # What pages speak of without making it.
        self.names = {"__name__": "__main__", "network": network, "quantized": quantized, "images": torch.ones(2, 4)}
        self.names |= {"inputs": torch.randn(96, 4), "labels": torch.arange(96) % 4}
        self.said = ""
        forget_projects()

    def follow(self, block):
        if block.language in ("", "text", "math"):
            return
        parse = {"yaml": yaml.safe_load, "toml": tomllib.loads}.get(block.language)
        if parse:
            parse(block.text)
        if block.language == "python":
            compile(block.text, block.where, "exec")
        if block.is_run:
            {"python": self.python, "toml": self.toml, "sh": self.shell, "yaml": self.written}[block.language](block)

    def written(self, block):
        """Write a block that is the content of a file; return whether it is one."""
        if not block.title:
            return False
        path = (self.folder / block.title).resolve()
        assert path.is_relative_to(self.folder.resolve()), f"{block.where}: {block.title} leaves the project"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        forget_projects()
        return True

    def python(self, block):
        if self.written(block):
            return
        with self.listening():
            exec(compile(block.text, block.where, "exec"), self.names)  # noqa: S102 - the documentation's own code

    def toml(self, block):
        if self.written(block) and Path(block.title).name == "pyproject.toml":
            return
        path = self.folder / "fragment.toml"
        path.write_text(block.text, encoding="utf-8")
        sparsebench.config.load_config(path)

    def shell(self, block):
        for words in block.commands:
            while re.fullmatch(r"[A-Z_]+=.*", words[0]):
                self.set_environment(*words.pop(0).split("=", 1))
            program, *arguments = words
            known = {"sparsebench": self.sparsebench, "pytest": self.pytest, "make": self.make, "pip": self.pip}
            assert program in known, f"{block.where}: nobody knows how to test {program!r}"
            known[program](block, arguments)

    def sparsebench(self, block, arguments):
        before = self.said
        code = 0
        self.set_argv(["sparsebench", *arguments])
        with self.listening() as heard:
            try:
                cli.main()
            except SystemExit as stop:
                code = stop.code or 0
        allowed = block.exit_codes | ({NO_VERDICT} if arguments[0] == "time" else set())
        assert code in allowed, f"{block.where}: sparsebench {arguments} ended with {code}\n{heard.getvalue()}"
        assert self.said != before, f"{block.where}: sparsebench {arguments} said nothing"

    def pytest(self, block, arguments):
        brief = ["--benchmark-max-time=0.01"] if any("benchmark" in word for word in arguments) else []
        path = os.pathsep.join([str(self.folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *PLUGIN, "-p", "quick_sweeps", *arguments, *brief],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        assert done.returncode in block.exit_codes, f"{block.where}\n{done.stdout}{done.stderr}"
        assert "passed" in done.stdout
        self.said += done.stdout

    def make(self, block, arguments):
        assert set(arguments) <= TARGETS, f"{block.where}: the Makefile has no {arguments}"

    def pip(self, block, arguments):
        assert arguments[0] == "install", block.where
        if arguments[1:] == CPU_ONLY:
            return
        for wanted in arguments[1:]:
            named = re.fullmatch(r"(?:sparsebench|\.)(?:\[(.*)\])?", wanted)
            assert named or wanted == "-e", f"{block.where}: pip installs {wanted!r}"
            assert set(((named and named[1]) or "").split(",")) <= EXTRAS | {""}, f"{block.where}: no such extra"
        if arguments[1:] == ["-e", "."]:
            install(self.folder)
            forget_projects()

    @contextlib.contextmanager
    def listening(self):
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            yield heard
        self.said += heard.getvalue()


def install(folder):
    """Leave what ``pip install -e .`` would, so far as entry points are concerned."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items())])
        for group, points in project.get("entry-points", {}).items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")


def forget_projects():
    """Forget what earlier pages have imported and installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    for known in (value for value in vars(registry).values() if isinstance(value, registry.Registry)):
        for cached in ("_installed", "providers"):
            vars(known).pop(cached, None)
