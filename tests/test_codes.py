from random import SystemRandom

from ussd_app import codes


def test_a_slip_of_the_finger_never_makes_another_code() -> None:
    """No code with one digit wrong, or two neighbours swapped, is a code."""
    random = SystemRandom()
    for code in {codes.new(random) for _ in range(200)}:
        assert codes.is_code(code)
        for place in range(8):
            others = {code[:place] + digit + code[place + 1 :] for digit in "0123456789"} - {code}
            swapped = code[:place] + code[place : place + 2][::-1] + code[place + 2 :]
            assert not any(map(codes.is_code, others | ({swapped} - {code})))


def test_what_cannot_be_a_code_is_none() -> None:
    """Other lengths, letters, and digits of other alphabets."""
    code = codes.new(SystemRandom())
    assert not any(map(codes.is_code, ["", code[:-1], f"{code}0", f" {code}", "0" * 8, "\u0661" * 8, "1234567a"]))


def test_codes_are_many() -> None:
    """A thousand do not collide where chance is fair."""
    random = SystemRandom()
    assert len({codes.new(random) for _ in range(1000)}) >= 998
