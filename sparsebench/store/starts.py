"""When a run was started: an empty file for each start, named by its time."""

import re
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sparsebench.store.disk import disk, inside

STARTS = "starts"

_TIME = "%Y%m%dT%H%M%S.%f"
_START = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-[0-9a-f]{8}")


def note_start(root: Path, at: datetime) -> None:
    """Note that work on the run in ``root`` starts at ``at``, a time with its zone.

    Raises:
        StoreError: where the note cannot be written.
    """
    folder = root / STARTS
    with disk("write", folder, "Free some space or mend its permissions."):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{at.astimezone(UTC).strftime(_TIME)}Z-{uuid.uuid4().hex[:8]}"
        inside(root, folder / name).touch(exist_ok=False)


def read_starts(root: Path) -> tuple[datetime, ...]:
    """Return when work on the run in ``root`` was started, in UTC, earliest first; other files are passed over."""
    folder = root / STARTS
    names = [_START.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ())]
    found = []
    for name in filter(None, names):
        with suppress(ValueError):  # Digits that are no time.
            found.append(datetime.strptime(name[1], _TIME).replace(tzinfo=UTC))
    return tuple(sorted(found))
