"""Commands in processes of their own that begin in a blink: forked from one that has imported what they need.

A fresh interpreter takes seconds for torch alone, more than most of the sweeps of these tests. What is started here is
a process like any other: it has its own environment, folder, output, group and signals, and can be killed.
"""

import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from patience import LONG

from sparsebench import processes


def _begin(arguments, cwd, env, output):
    """Become ``python *arguments``; the main function of the process."""
    if os.name == "posix":
        os.setsid()
        # Workers of a run leave interrupts to their driver; a command does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for number, path in zip((1, 2), output, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    # Those at hand may have been replaced by whoever runs the tests.
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(number, "wb", 0), encoding="utf-8", write_through=True) for number in (1, 2)
    )
    # A forked process starts its own ones in that way, too, unless it is told to do as others do.
    multiprocessing.set_start_method(None, force=True)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if "OMP_NUM_THREADS" in env:  # read when torch was imported, which is long ago
        import torch

        torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    added = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    kind, what, *rest = arguments
    sys.path[:] = [str(cwd) if kind == "-m" else "", *added, *(path for path in sys.path if path not in added)]
    sys.argv[:] = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's own code


class Process:
    """A process that was started; it has what these tests use of ``subprocess.Popen``.

    Args:
        arguments: what would follow ``python``: ``-m MODULE ARGUMENT …`` or ``-c CODE ARGUMENT …``.
        cwd: its working directory.
        env: its whole environment.
    """

    def __init__(self, arguments, cwd, env=None):
        self.args = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory(prefix="sparsebench-test-", ignore_cleanup_errors=True)
        self._files = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for file in self._files:
            file.touch()
        env = dict(os.environ if env is None else env)
        output = [str(file) for file in self._files]
        self._process = processes.start(_begin, self.args, str(cwd), env, output, name="command")
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def wait(self, timeout=LONG):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=LONG):
        self.wait(timeout)
        stdout, stderr = (file.read_text() for file in self._files)
        return stdout, stderr

    def said(self, part):
        """Wait until a whole line of what it writes to stderr contains ``part``, and return that line."""
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            ended = self.returncode is not None
            lines = self._files[1].read_text().splitlines(keepends=True)
            found = [line for line in lines if part in line and line.endswith("\n")]
            if found:
                return found[0]
            assert not ended, f"it ended and did not say {part!r}"
            time.sleep(0.02)
        raise subprocess.TimeoutExpired(self.args, LONG)

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()


def run(arguments, cwd, env=None, timeout=LONG):
    """Run a command to its end, as ``subprocess.run`` does with its output as text."""
    process = Process(arguments, cwd, env)
    try:
        stdout, stderr = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
