"""Claims: which of several drivers of one run directory is at a stage, so that no other does the same meanwhile.

A claim is a file beside the stage's result. It is made only where there is none, which file systems do atomically, NFS
included. Its driver touches it while it works; one that is touched no longer, or whose process on this machine is
gone, is taken over. Whether a claim is touched is judged by its time of change changing, seen over seconds of the
observer's own monotonic clock: clocks of two machines are never compared, and one that is set back does no harm.

Claims spare work. Records do not depend on them: where two drivers do one stage after all, both write the same, whole.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from sparsebench.runner.plan import Stage
from sparsebench.store.disk import clear_the_way, content_and_change, disk, inside
from sparsebench.store.fields import Count, Text
from sparsebench.store.records import PARENTS
from sparsebench.store.run_directory import Store

CLAIM = "claim.json"

BEAT_SECONDS = 15.0
"""A driver touches its claims this often."""

PATIENCE_SECONDS = 120.0
"""A claim of another machine that was not touched for so long is taken over; NFS caches are stale for less."""

_MOST_BYTES = 2**16

UNWRITTEN_SECONDS = 5.0
"""A claim that stays empty for so long is taken over: its driver died between making and writing it."""


class Claims:
    """The claims of one driver on the stages of a run; ``clock`` returns seconds that only grow."""

    def __init__(
        self,
        store: Store,
        *,
        beat_seconds: float = BEAT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._clock = store, clock
        self._beat_seconds, self._patience_seconds = beat_seconds, patience_seconds
        process = {"machine": machine(), "host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
        self._own = json.dumps({"driver": uuid.uuid4().hex, **process}, sort_keys=True).encode()
        self._held: set[Path] = set()
        self._seen: dict[Path, tuple[tuple[bytes, int], float]] = {}
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def take(self, stages: Sequence[Stage]) -> bool:
        """Claim stages that are done together: all of them, or none where another driver is at one."""
        taken: list[Path] = []
        # Two drivers that want overlapping sessions meet at the same claim first.
        for stage in sorted(stages, key=lambda stage: stage.key):
            path = self._path(stage)
            if path in self._held:
                continue
            if not self._take(path):
                self._release(taken)
                return False
            taken.append(path)
        return True

    def release(self, stages: Sequence[Stage]) -> None:
        """Give claims back; the stages are committed, or will not be done by this driver."""
        self._release([self._path(stage) for stage in stages])

    def holder(self, stage: Stage) -> str | None:
        """Return who is at a stage, for a person to read; None where nobody is, or who it is cannot be told."""
        found = _read(self._path(stage))
        owner = _owner(found[0]) if found else None
        return f"process {owner.pid} on {owner.host}" if owner else None

    def close(self) -> None:
        """Give all claims back and stop touching them."""
        self._ended.set()
        self._release(list(self._held))
        if self._heart is not None:
            self._heart.join()

    def _path(self, stage: Stage) -> Path:
        return self._store.directory(stage.kind, stage.key) / CLAIM

    def _take(self, path: Path) -> bool:
        if self._make(path):
            return True
        found = _read(path)
        return self._is_abandoned(path, found) and self._take_over(path, found[0]) if found else self._make(path)

    def _take_over(self, path: Path, abandoned: bytes) -> bool:
        """Replace an abandoned claim, unless another driver does, or did since it was read.

        A claim on the taking over, beside it, lets one driver alone replace it, and becomes the claim itself: there is
        no moment without one in which a third could make its own. Who dies in between leaves the claim on the taking
        over, which is taken over like any other.
        """
        guard = path.with_name(f".{path.name}")
        if not self._take(guard):
            return False
        found = _read(path)
        if found is not None and found[0] == abandoned:
            # Windows replaces no file that somebody is reading; another attempt will find nobody at it.
            with contextlib.suppress(OSError):
                clear_the_way(path)
                guard.replace(path)
                self._held.discard(guard)
                self._hold(path)
                return True
        self._release([guard])
        return False

    def _make(self, path: Path) -> bool:
        with disk("write", path):
            inside(self._store.root, path.parent).mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                return False
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(self._own)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        self._hold(path)
        return True

    def _hold(self, path: Path) -> None:
        self._held.add(path)
        self._seen.pop(path, None)
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, name="sparsebench-claims", daemon=True)
            self._heart.start()

    def _is_abandoned(self, path: Path, found: tuple[bytes, int]) -> bool:
        alive = _owner_lives(found[0])
        if alive is not None:
            return not alive
        now = self._clock()
        last, since = self._seen.get(path, (None, now))
        if last != found:
            self._seen[path] = (found, now)
            return False
        return now - since > (self._patience_seconds if found[0] else min(self._patience_seconds, UNWRITTEN_SECONDS))

    def _release(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._held.discard(path)
            found = _read(path)
            # One that was taken over, because this process was stopped for long, belongs to another now.
            if found is not None and found[0] == self._own:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            for path in list(self._held):
                # A claim that cannot be touched, for its disk is away, is at worst taken over.
                with contextlib.suppress(OSError):
                    os.utime(path)


def clear_claims(store: Store) -> None:
    """Remove claims that nobody will give back: of killed drivers, and on stages that are done."""
    for kind in PARENTS:
        for key in store.keys(kind):
            folder = store.directory(kind, key)
            for path in (folder / CLAIM, folder / f".{CLAIM}"):
                found = _read(path)
                if found and (_owner_lives(found[0]) is False or store.standing(kind, key) == "done"):
                    with contextlib.suppress(OSError):
                        clear_the_way(path)
                        path.unlink(missing_ok=True)


@cache
def machine() -> str:
    """Return what those processes share that can see each other: the machine since its start, and the container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """Who made a claim, as it says of itself."""

    machine: Text
    host: Text
    # Of 0 and below, processes are a group or all there are.
    pid: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
    began: Count | None


def _owner(content: bytes) -> _Owner | None:
    """Return who made a claim; None where it was only just made and not yet written, or is damaged."""
    try:
        return _owners().validate_json(content)
    except ValidationError:
        return None


@cache
def _owners() -> TypeAdapter[_Owner]:
    return TypeAdapter(_Owner)


def _owner_lives(content: bytes) -> bool | None:
    """Return whether the process that made a claim lives, None where that cannot be told from here."""
    owner = _owner(content)
    # Windows has no harmless way to ask for a process: os.kill would end it.
    if owner is None or owner.machine != machine() or os.name != "posix":
        return None  # Its time of change will tell.
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # It is there and is another user's.
    if owner.began is None:  # Where the system tells when processes began, ours say it.
        return True if _began(os.getpid()) is None else None
    return _began(owner.pid) == owner.began


def _began(pid: int) -> int | None:
    """Return when a process started, in ticks since the machine did; None where it is dead or nobody tells.

    The fields are those of proc(5), /proc/pid/stat; the name in the second may hold blanks and brackets.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _read(path: Path) -> tuple[bytes, int] | None:
    """Return the content of a claim and its time of change; None where there is none.

    They are asked of an open file, for it is at opening that NFS asks its server what is new. What is no file, or
    cannot be read, is a claim that says nothing.
    """
    try:
        return content_and_change(path, _MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError:
        with contextlib.suppress(OSError):
            return b"", path.lstat().st_mtime_ns
        return None
