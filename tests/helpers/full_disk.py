"""Runs a sweep on a file system of a few hundred kilobytes, which it mounts; then makes room and runs it again.

Run as a script, where mounting is allowed: ``full_disk.py FOLDER ROOM_KB ARGUMENTS…``. Prints JSON.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sweeps import rows

from sparsebench import load_run

SIZE_KB = 16_000


def run(folder, arguments):
    command = [sys.executable, "-m", "sparsebench", "run", *arguments, "--no-report"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def main():
    folder, room, arguments = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    mount, umount = (str(shutil.which(tool)) for tool in ("mount", "umount"))
    subprocess.run([mount, "-t", "tmpfs", "-o", f"size={SIZE_KB}k", "none", folder], check=True)
    try:
        filler = folder / "filler"
        filler.write_bytes(b"\0" * (SIZE_KB - room) * 1024)
        full = run(folder, arguments)
        left = sorted(str(path.relative_to(folder)) for path in folder.glob("runs/*/*/*/*"))
        committed = [path for path in left if path.endswith("result.json")]
        filler.unlink()
        again = run(folder, arguments)
        found = {
            "full": [full.returncode, full.stderr],
            "left": left,
            "committed": committed,
            "again": [again.returncode, again.stderr],
            "rows": rows(load_run(next((folder / "runs").iterdir()))) if again.returncode == 0 else None,
        }
    finally:
        os.chdir("/")
        subprocess.run([umount, folder], check=False)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
