"""Whether each of many samples was right, as text."""

import base64
import zlib
from collections.abc import Iterable


def pack_bits(correct: Iterable[bool]) -> str:
    """Return booleans as base64 of the deflated bits, eight to a byte, most significant first."""
    flags = [bool(flag) for flag in correct]
    number = int("".join("1" if flag else "0" for flag in flags) or "0", 2)
    padding = -len(flags) % 8
    raw = (number << padding).to_bytes((len(flags) + padding) // 8, "big")
    return base64.b64encode(zlib.compress(raw, 9)).decode("ascii")


def unpack_bits(packed: str, count: int) -> tuple[bool, ...]:
    """Return the ``count`` booleans that ``pack_bits`` packed."""
    bits = "".join(f"{byte:08b}" for byte in _unpacked(packed, count))
    return tuple(bit == "1" for bit in bits[:count])


def packed_length(packed: str, count: int) -> int:
    """Return how many bytes ``pack_bits`` packed, where ``count`` booleans are expected: at most one more than those.

    Raises:
        ValueError, binascii.Error, zlib.error: where it is not what ``pack_bits`` returns.
    """
    return len(_unpacked(packed, count))


def _unpacked(packed: str, count: int) -> bytes:
    # Bounded, for a few bytes can unpack to all that a machine has.
    return zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), (count + 7) // 8 + 1)
