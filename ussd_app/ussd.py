"""The vocabulary of a USSD dialogue, whatever aggregator carries it: one hop in, one screen out."""

from dataclasses import dataclass, field
from enum import StrEnum

from ussd_app.msisdn import Msisdn

INPUT_CHARS_MAX = 500  # of one entry; networks cut at 80 to 160

# Keys some handsets and gateways send in place of the plain ones (wire/ussd.md sections 5.2 and 8).
FULL_WIDTH = str.maketrans({"\uff03": "#", "\uff0a": "*"})


class Event(StrEnum):
    """What a request says about the dialogue (wire/ussd.md section 2.1)."""

    BEGIN = "begin"
    REPLY = "reply"
    END = "end"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Turn:
    """One hop as an aggregator's request tells it."""

    aggregator: str
    session_id: str
    subscriber: str  # the id as sent; what Msisdn could not be made of has msisdn None
    msisdn: Msisdn | None
    service_code: str  # as sent; only echoed
    event: Event
    text: str = field(repr=False)  # cumulative: all of it; else the newest entry; on BEGIN pre-typed digits, ``1*2``
    cumulative: bool = False
    hop_id: str = ""  # exact id of this hop where the aggregator has one
    doubtful_end: bool = False  # an entry in an envelope that says "end": believed only on a session we know
    language: str | None = None
    network: str | None = None  # the aggregator's network code
    imsi: str | None = field(default=None, repr=False)
    cell_id: str | None = None
    style: str = ""  # which of its formats the aggregator spoke, for its own render


@dataclass(frozen=True, slots=True)
class Reply:
    """One screen: its words, and whether the dialogue is over with it."""

    text: str
    close: bool = False


@dataclass(slots=True)
class Effects:
    """What a hop has done so far, told while it runs to whoever must answer for it when it is cut short."""

    may_have_effect: bool = False  # set before anything is committed: from then on no reply says "nothing happened"
    run: str = ""  # of the action that set it, and its idempotency key
    key: str = ""
    flow: str = ""  # where the person is, for the log and the metrics
    language: str | None = None  # the person's own, once known


def after_code(dialled: str, code: str) -> str:
    """The pre-typed digits of a dial string: ``*920*55*1*2#`` with code ``920*55`` gives ``1*2``.

    The code is stripped at a ``*`` boundary only: ``920*5`` never matches ``920*55``. A string that holds just the
    code's first part (MADAPI's service code ``920``) or another code altogether has no pre-typed digits.
    """
    digits = dialled.translate(FULL_WIDTH).strip().lstrip("*").removesuffix("#")
    if digits == code or not digits.startswith(f"{code}*"):
        return ""
    return digits[len(code) + 1 :]
