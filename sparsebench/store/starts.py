"""When a run was started: one empty file for each start that found work to do, named by its time.

A file of its own for each start needs neither a lock nor reading before writing, so that several processes may start
side by side on one run directory.
"""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from sparsebench.errors import StoreError

FOLDER = "starts"

_FORM = "%Y%m%dT%H%M%S.%f"
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-[0-9a-f]{8}")


def note_start(root: Path, at: datetime) -> None:
    """Note that work on the run in ``root`` starts.

    Args:
        root: the run directory.
        at: when, with its time zone.

    Raises:
        StoreError: where the note cannot be written.
    """
    folder = root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{at.astimezone(UTC).strftime(_FORM)}Z-{uuid.uuid4().hex[:8]}").touch(exist_ok=False)
    except OSError as error:
        raise StoreError(
            f"Cannot write {folder}: {error.strerror or error}. Free some space or mend its permissions."
        ) from error


def read_starts(root: Path) -> tuple[datetime, ...]:
    """Return when work on the run in ``root`` was started, in UTC, earliest first; other files are passed over."""
    folder = root / FOLDER
    names = (_NAME.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return tuple(sorted(datetime.strptime(name[1], _FORM).replace(tzinfo=UTC) for name in names if name))
