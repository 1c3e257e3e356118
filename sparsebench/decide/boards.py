"""Boards with a microcontroller, and whether a network fits them."""

from dataclasses import dataclass
from typing import Literal

Fit = Literal["FITS", "TIGHT", "TOO BIG"]

TIGHT = 0.8
"""Share of a board's flash or RAM from which on a network is tight: the interpreter's code, the application and its
stack are not in its figures."""


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        name: as it is sold.
        chip: its microcontroller.
        flash_bytes: where programs and networks are stored.
        ram_bytes: static RAM.
        source: the document that says so.
    """

    name: str
    chip: str
    flash_bytes: int
    ram_bytes: int
    source: str

    def fit(self, flash: float, ram: float) -> Fit:
        """Return whether a network fits that takes so many bytes of flash and of RAM."""
        fullest = max(flash / self.flash_bytes, ram / self.ram_bytes)
        return "FITS" if fullest <= TIGHT else "TIGHT" if fullest <= 1 else "TOO BIG"


_KIB, _MIB = 2**10, 2**20

BOARDS = (
    Board("micro:bit V2", "nRF52833", 512 * _KIB, 128 * _KIB, "Nordic Semiconductor, nRF52833 Product Specification"),
    Board("NUCLEO-F446RE", "STM32F446RE", 512 * _KIB, 128 * _KIB, "STMicroelectronics, STM32F446xC/E data sheet"),
    Board(
        "Arduino Nano 33 BLE", "nRF52840", 1 * _MIB, 256 * _KIB, "Nordic Semiconductor, nRF52840 Product Specification"
    ),
    Board("Raspberry Pi Pico", "RP2040", 2 * _MIB, 264 * _KIB, "Raspberry Pi, Pico and RP2040 data sheets"),
    Board("SparkFun Edge", "Apollo3 Blue", 1 * _MIB, 384 * _KIB, "Ambiq, Apollo3 Blue SoC data sheet"),
    Board("Raspberry Pi Pico 2", "RP2350", 4 * _MIB, 520 * _KIB, "Raspberry Pi, Pico 2 and RP2350 data sheets"),
    Board("NUCLEO-L4R5ZI", "STM32L4R5ZI", 2 * _MIB, 640 * _KIB, "STMicroelectronics, STM32L4R5xx data sheet"),
    Board("NUCLEO-H743ZI2", "STM32H743ZI", 2 * _MIB, 1 * _MIB, "STMicroelectronics, STM32H743xI/G data sheet"),
    Board("ESP32-S3-DevKitC-1-N8", "ESP32-S3", 8 * _MIB, 512 * _KIB, "Espressif, ESP32-S3 Series data sheet"),
)
"""By RAM, the last aside, whose flash is outside of its chip."""
