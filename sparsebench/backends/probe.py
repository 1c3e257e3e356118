"""What a machine has and can do, found without importing torch or a runtime."""

import platform
from collections.abc import Mapping
from importlib.util import find_spec

from sparsebench.registry import SCHEMES, unknown_name
from sparsebench.store.environment import cpu_flags

_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}


def why_not(backend: str, scheme: str, offered: tuple[str, ...], reasons: Mapping[str, str]) -> str | None:
    """Return why a backend does not offer a scheme, a sentence; None where it does.

    Args:
        backend: its name.
        scheme: a name or an alias.
        offered: the schemes that it offers.
        reasons: why it does not offer others of this package, as the sentence goes on after the colon.
    """
    scheme = SCHEMES.canonical(scheme)
    if scheme in offered:
        return None
    if scheme in reasons:
        return f"{backend} does not offer {scheme}: {reasons[scheme]}"
    if scheme not in SCHEMES:
        return unknown_name("scheme", scheme, [*SCHEMES, *SCHEMES.aliases])
    return f"{backend} does not offer {scheme}: a scheme of an installed package runs on backend 'eager'."


def not_installed(backend: str, *modules: str) -> str | None:
    """Return which modules are missing, with what to install; None where all are there. Imports none of them."""
    missing = [module for module in modules if not find_spec(module)]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {verb} not installed; run \"pip install 'sparsebench[{backend}]'\"."


def is_x86() -> bool:
    """Whether the processor is one of the x86 family."""
    return platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def int8_saturates() -> bool:
    """Whether int8 products of this processor are added up in 16 bits, which saturate.

    Processors of the x86 family without VNNI multiply unsigned activations with signed weights by ``vpmaddubsw``, and
    two products of 8 bits do not fit its 16-bit sum. Weights of 7 bits do. Where the system does not tell what an x86
    processor can do, the answer is yes, for that costs half a bit and the other error costs the result.
    """
    return is_x86() and not _DOT_PRODUCTS & set(cpu_flags())
