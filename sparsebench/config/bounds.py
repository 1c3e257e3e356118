"""What a config may hold at most, whatever its keys: digits of a number, and levels of lists and tables."""

from typing import Any

MOST_DIGITS = 1000
MOST_LEVELS = 32

TOO_DEEP = f"lists or tables lie more than {MOST_LEVELS} deep in each other, the most that is read"
TOO_LONG = f"a number has more than {MOST_DIGITS:,} digits, the most that is read"


def excess(value: Any) -> str | None:
    """Return what is more than is read, as part of a sentence; None where all is within bounds."""
    level, found = 0, [value]
    while found:
        if level > MOST_LEVELS:
            return TOO_DEEP
        if any(type(one) is int and abs(one) >= 10**MOST_DIGITS for one in found):
            return TOO_LONG
        inner = [list(one.values()) if isinstance(one, dict) else one for one in found if isinstance(one, dict | list)]
        found, level = [part for one in inner for part in one], level + 1
    return None
