"""Codes that people dial and read out: eight digits, of which the last is a check digit."""

import re
from random import Random

WEIGHTS = range(8, 0, -1)  # the last digit counts once
MODULUS = 11


def new(random: Random) -> str:
    """A code nobody can foresee where ``random`` is the system's; whoever keeps it sees that it is not yet taken."""
    while True:
        digits = [random.randrange(1, 10), *(random.randrange(10) for _ in range(6))]
        check = -_weighed(digits) % MODULUS
        if check < 10:  # noqa: PLR2004 - one decimal digit
            return "".join(map(str, [*digits, check]))


def is_code(typed: str) -> bool:
    """Whether it can be a code at all: most slips of a finger cannot."""
    return re.fullmatch("[1-9][0-9]{7}", typed) is not None and _weighed([int(digit) for digit in typed]) % MODULUS == 0


def _weighed(digits: list[int]) -> int:
    return sum(weight * digit for weight, digit in zip(WEIGHTS, digits, strict=False))
