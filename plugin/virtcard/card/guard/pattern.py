"""Patterns of commands: an instruction, or an instruction with P1 and P2, in hex with x for any digit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from virtcard.errors import InvalidArgument

_FORM: Final = re.compile(r"(?:[0-9A-Fa-fxX]{2}|[0-9A-Fa-fxX]{6})\Z")
_ANY: Final = "xxxx"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Fits where INS, P1 and P2 as one number, masked, are `value`."""

    mask: int
    value: int

    def instructions(self) -> tuple[int, ...]:
        """The instructions that it may fit."""
        mask, value = self.mask >> 16, self.value >> 16
        return tuple(ins for ins in range(256) if ins & mask == value)

    @property
    def parameters(self) -> tuple[int, int]:
        """Mask and value of P1 and P2 as one number."""
        return self.mask & 0xFFFF, self.value & 0xFFFF


def parse_pattern(text: str) -> Pattern:
    """`20` or `87xx9A`; InvalidArgument for anything else."""
    if not _FORM.match(text):
        raise InvalidArgument(
            f'"{text}" is no command.',
            hint="Give INS (as 20), or INS P1 P2 (as 87xx9A), in hex digits with x for any digit.",
        )
    digits = text.lower() if len(text) == 6 else text.lower() + _ANY
    mask = int("".join("0" if digit == "x" else "f" for digit in digits), 16)
    return Pattern(mask, int(digits.replace("x", "0"), 16))
