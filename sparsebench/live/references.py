"""Which objects need no digest, because they can be imported by name as a config names them."""

import importlib.util
import sys
from contextlib import suppress
from typing import Any

_OF_A_SESSION = ("__main__", "__mp_main__", "builtins")


def reference_of(component: Any) -> str | None:
    """Return ``package.module:attribute`` of a class or function; None where it cannot be imported by that."""
    module, name = getattr(component, "__module__", None), getattr(component, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module in _OF_A_SESSION or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not component:
        return None
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            return f"{module}:{name}"
    return None
