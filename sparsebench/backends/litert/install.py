"""Install the converter of LiteRT into an environment of its own: ``python -m sparsebench.backends.litert.install``.

It is a virtual environment of this Python that sees the packages of this one after its own, so that only what conflicts
is installed twice: about 750 MB, and not the gigabytes of torch.
"""

import site
import subprocess
import sys
import venv
from pathlib import Path

from sparsebench.backends.litert.place import INSTALL, interpreter, not_there, place

REQUIREMENTS = ("litert-torch>=0.10", "ai-edge-quantizer>=0.10", "ai-edge-litert>=2.3")
SEEN = "sparsebench-parent.pth"


def install(folder: Path) -> None:
    """Make the environment, or go on where it was left.

    Args:
        folder: where it is to lie.

    Raises:
        subprocess.CalledProcessError: where pip cannot install what it needs; it has said why.
    """
    venv.create(folder, with_pip=True)
    python = str(interpreter(folder))
    own = "import sysconfig; print(sysconfig.get_path('purelib'))"
    inside = subprocess.run([python, "-c", own], check=True, capture_output=True, text=True)  # noqa: S603 - our own
    seen = [path for path in site.getsitepackages() if Path(path).is_dir()]
    Path(inside.stdout.strip(), SEEN).write_text("\n".join([*seen, ""]), encoding="utf-8")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    subprocess.run(command, check=True)  # noqa: S603 - our own


def main() -> int:
    """Install it, unless it is there."""
    if len(sys.argv) > 1:
        print(f"This takes no arguments: {INSTALL}. The folder is that of the environment variable, or of this Python.")
        return 2
    if not_there() is None:
        print(f"The converter is there: {place()}")
        return 0
    print(f"Installing the converter of LiteRT into {place()}: about 750 MB.", flush=True)
    try:
        install(place())
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"The converter was not installed: {error}")
        return 1
    problem = not_there()
    print(problem or "The converter is installed.")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
