"""What a piece of code imports, seen in a Python of its own."""

import subprocess
import sys


def modules_after(code):
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
