"""What networks take on a microcontroller, and which boards they fit."""

from collections.abc import Iterator

from sparsebench.decide.boards import BOARDS
from sparsebench.points.points import Section
from sparsebench.store.results import MicrocontrollerResult
from sparsebench.wording.numbers import DASH, kilobytes
from sparsebench.wording.text import escape, markdown_table

NOTE = (
    "Flash is the file, without the interpreter; the arena is all memory that one sample takes, as TensorFlow Lite for "
    "Microcontrollers measured it here, where pointers are longer than on a board. Pruned: weights as a bit for each "
    "and those that are not zero, with the same outputs. FITS: at most 80 % of the board's flash and RAM, which leaves "
    "room for the program; TIGHT: more; TOO BIG: more than it has."
)


def microcontroller_parts(section: Section) -> Iterator[str]:
    """Yield what networks take, and which boards they fit; nothing where no microcontroller was measured."""
    found = list(_measured(section))
    if not found:
        return
    headings = ["network", "flash", "arena", "pruned flash", "pruned arena", "withheld"]
    rows = [
        [
            escape(label),
            *map(_kilobytes, (m.flash_bytes, m.arena_bytes, m.pruned_flash_bytes, m.pruned_arena_bytes)),
            escape(m.withheld) or DASH,
        ]
        for label, m in found
    ]
    yield f"**On a microcontroller**, in kB\n\n{markdown_table(headings, rows, [False, *[True] * 4, False])}"
    fitting = [(label, m.flash_bytes, m.arena_bytes) for label, m in found]
    boards = [
        [escape(label), *(board.fit(flash, arena) for board in BOARDS)]
        for label, flash, arena in fitting
        if flash is not None and arena is not None
    ]
    if boards:
        yield markdown_table(["network", *(board.name for board in BOARDS)], boards, [False] * (1 + len(BOARDS)))
    yield NOTE


def _measured(section: Section) -> Iterator[tuple[str, MicrocontrollerResult]]:
    """Yield each point whose first seed was measured there."""
    for point in section.shown:
        packed = next((seed.trial.compressed for seed in point.seeds if seed.trial.compressed), None)
        if packed and packed.microcontroller:
            yield point.label, packed.microcontroller


def _kilobytes(value: int | None) -> str:
    return DASH if value is None else kilobytes(value)
