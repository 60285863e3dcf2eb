"""What a text costs on a handset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ussd_app import gsm


@pytest.mark.parametrize(
    ("text", "encoding", "count"),
    [
        ("a" * 160, "gsm", 1),
        ("a" * 161, "gsm", 2),
        ("a" * 306, "gsm", 2),
        ("a" * 307, "gsm", 3),
        ("a" * 158 + "€", "gsm", 1),
        ("a" * 159 + "€", "gsm", 2),
        ("a" * 152 + "€" + "b" * 10, "gsm", 2),
        ("ñ", "gsm", 1),
        ("ç", "ucs2", 1),
        ("漢" * 70, "ucs2", 1),
        ("漢" * 71, "ucs2", 2),
        ("漢" * 69 + "😀", "ucs2", 2),
        ("漢" * 66 + "😀" + "漢" * 10, "ucs2", 2),
    ],
)
def test_parts_follow_the_vectors(text: str, encoding: str, count: int) -> None:
    """The vectors of wire/sms.md section 5.1."""
    assert gsm.parts(text) == gsm.Parts(encoding, count)


def test_an_empty_text_is_not_sent() -> None:
    """It is refused, not counted."""
    with pytest.raises(ValueError, match="empty"):
        gsm.parts("")


@given(st.text(max_size=60))
def test_everything_becomes_gsm_on_one_line_within_its_limit(text: str) -> None:
    """Whatever a person typed or a provider sent."""
    line = gsm.one_line(text, 20)
    cost = gsm.septets(line)
    assert cost is not None
    assert cost <= 20
    assert not set(line) & set("\n\r\f")
    assert gsm.septets(gsm.to_gsm(text)) is not None


def test_words_survive_transliteration() -> None:
    """Accents go where the alphabet lacks them and stay where it has them."""
    assert gsm.to_gsm("Français déjà prêt août \u2013 “ok”…") == 'Francais déjà pret aout - "ok"...'
    assert gsm.to_gsm("₵5 ɛyɛ") == "GHS 5 eye"
