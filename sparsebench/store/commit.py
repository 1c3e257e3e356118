"""The commit of the code in a folder, asked of git without anything of that folder being run.

What a folder configures for git is code: hooks, monitors of its file system, filters of its files, commands that fetch
what is missing. None of them is wanted to tell a commit.
"""

import os
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_WITHOUT_CODE = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.alternateRefsCommand=")
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",  # nothing is fetched
}
_PARTS_OF_FILTERS = ("clean", "smudge", "process")


def commit_of(folder: Path) -> str | None:
    """Return the commit checked out in a folder, with ``-dirty`` where tracked files differ; None outside git.

    Submodules are not looked into, and files that pass through a filter (git-lfs) are compared without it.
    """
    return _commit(str(folder))


@lru_cache
def _commit(folder: str) -> str | None:
    try:
        commit = _git(folder, _WITHOUT_CODE, "rev-parse", "--verify", "HEAD").strip()
        settings = (*_WITHOUT_CODE, *_without_filters(folder))
        # Of what it shows nothing is needed but whether it shows anything.
        changed = _git(
            *(folder, settings, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"),
            "--no-renames",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _without_filters(folder: str) -> list[str]:
    """Return the settings that turn off all filters that are configured; reading a configuration runs nothing."""
    try:
        told = _git(folder, _WITHOUT_CODE, "config", "--name-only", "-z", "--get-regexp", r"^filter\.")
    except subprocess.CalledProcessError:  # There is none.
        return []
    names = {name.rpartition(".")[0] for name in told.split("\0") if name}
    return [f"{name}.{part}=" for name in sorted(names) for part in _PARTS_OF_FILTERS] + [
        f"{name}.required=false" for name in sorted(names)
    ]


def _git(folder: str, settings: Sequence[str], *arguments: str) -> str:
    command = ["git", "-C", folder, *(part for setting in settings for part in ("-c", setting)), *arguments]
    # A fixed program; folder and names of filters are arguments of their own, and no shell reads them.
    done = subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=10,
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
    )
    return done.stdout
