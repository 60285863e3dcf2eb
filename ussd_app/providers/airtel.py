"""What Airtel Money's answers say, read (wire/momo.md sections 2.3 and 2.4).

HTTP 200 is no success. An end is told by a transaction's word, where no code beside it says otherwise: 006 and the
codes of the transport speak of the call.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ussd_app.errors import NOT_AUTHORISED, ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer
from ussd_app.money import Money
from ussd_app.movement import Claimed, Failed, Kind, Pending, Status, Succeeded
from ussd_app.providers import rsa
from ussd_app.providers.client import OUTAGES, short

# What a word or a code says of a movement; None where it says nothing that could be an end.
Meaning = Reason | type[Pending] | type[Succeeded] | None

# A transaction's word. TA is ambiguous; TR is what a refund makes of TS; a word that is not listed is never final.
STATUSES: Mapping[str, type[Status] | None] = {
    "TS": Succeeded, "TF": Failed, "TE": Failed, "TIP": Pending, "TI": Pending, "TP": Pending, "TA": None, "TR": None,
}  # fmt: skip
PAID, EXPIRED, REVERSED = "TS", "TE", "TR"
GIVEN_BACK = "SUCCESS"  # the word of a refund that was taken

# Codes by their beginning and their meaning; one that is not listed is never final. Pending: the call was taken, and
# the movement is under way unless its word is final. ESB000008, "field validation", is said of what may yet be paid.
CODES: Mapping[str, Mapping[Meaning, str]] = {
    "DP00800001": {
        Succeeded: "001", Pending: "006", None: "000 024 025 027 028",
        Reason.WRONG_PIN: "002", Reason.LIMIT_REACHED: "003", Reason.AMOUNT_INVALID: "004",
        Reason.EXPIRED: "005 029", Reason.INSUFFICIENT_FUNDS: "007", Reason.REJECTED_BY_PAYER: "008 009",
        Reason.PARTY_NOT_ALLOWED: "010", Reason.NOT_AUTHORISED: "026",
    },
    "DP00900001": {
        Succeeded: "001", Pending: "006", None: "000 014 015",
        Reason.LIMIT_REACHED: "003", Reason.AMOUNT_INVALID: "004", Reason.INTERNAL: "005",
        Reason.INSUFFICIENT_FUNDS: "007", Reason.PARTY_NOT_FOUND: "009 012", Reason.PARTY_NOT_ALLOWED: "010",
        Reason.DUPLICATE: "011 017", Reason.REJECTED_BY_PAYER: "013", Reason.NOT_AUTHORISED: "016 018 019",
    },
    "DP008001": {  # the short ones of collections, of an older platform
        Succeeded: "001", Reason.INTERNAL: "013", Reason.NOT_AUTHORISED: "016",
        Reason.INSUFFICIENT_FUNDS: "021", Reason.WRONG_PIN: "023",
    },
    "ROUTER": {
        Reason.NOT_AUTHORISED: "001 005 114 115 116", Reason.BAD_REQUEST: "003 006 007 112 119", None: "117",
    },
    "ESB000": {
        Reason.BAD_REQUEST: "033 034 035 036", Reason.NOT_AUTHORISED: "039", Reason.DUPLICATE: "041",
        None: "001 004 008 014 045",
    },
    "0000": {None: "900"},
}  # fmt: skip
MEANINGS: Mapping[str, Meaning] = {
    beginning + end: meaning
    for beginning, meanings in CODES.items()
    for meaning, ends in meanings.items()
    for end in ends.split()
}
# What the words beside a code make of it, where it has more than one meaning.
WORDS: Mapping[str, tuple[tuple[re.Pattern[str], Reason], ...]] = {
    "DP00800001005": ((re.compile("msisdn not found", re.IGNORECASE), Reason.PARTY_NOT_FOUND),),
    "DP008001013": (
        (re.compile(r"\bpin\b", re.IGNORECASE), Reason.WRONG_PIN),
        (re.compile(r"\bamount\b", re.IGNORECASE), Reason.AMOUNT_INVALID),
    ),
}
# Other short codes, and those of other products (cash-in, bank to wallet, remittances), leave an end to its word.
BY_WORD = re.compile("(DP008001|DP01000001|DP02100001|DP03520001)[0-9]{3}")
IN_PROCESS_ELSEWHERE = frozenset({"DP00800001003"})  # in one country's table: no refusal without the word of a failure
FAMILIES = {Kind.COLLECTION: "DP008", Kind.DISBURSEMENT: "DP009", Kind.REFUND: "DP008"}  # whose codes a kind may have
CALL_FAILED = "ESB000011"
TRANSPORT = ("ESB000010", CALL_FAILED, None, "")  # say nothing: the response_code beside them does
NOT_FOUND = ("DP00800001025", "DP00900001015", "ESB000045")

KEY_FOUND, BALANCE_FOUND = "DP02010001001", "DP02100000001"
USER_FOUND, USER_FAILED = "DP02200000001", "DP02200000000"
UNSEEN = "ESB000004"  # of a person: not found in one client's words, ambiguous in the operator's matrix
NO_USER = frozenset({"DP02200000002", "DP02100000002", UNSEEN})
STALE_KEY = frozenset({"DP00800001026", "DP00900001016", "ROUTER116"})  # sealed for a key that is not theirs

UNREGISTERED = frozenset({"", "N", "NO", "NOT_REGISTERED", "UNREGISTERED"})  # of undocumented words the plain ones
NO_ROUTE = "no route matched"  # the gateway's own words, beside no code

CONFIGURATION = frozenset({Reason.NOT_AUTHORISED, Reason.BAD_REQUEST})
REFUSED = {400: Reason.BAD_REQUEST, 401: Reason.NOT_AUTHORISED, 403: Reason.NOT_AUTHORISED}

BASE_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ID = re.compile("[0-9A-Z]{25}")  # of a transaction: a UUID is 25 digits in base 36, and no more are surely taken
KEY_LIFE = timedelta(hours=1)  # of a public key that does not say until when
SEALED_BYTES = 69  # the longest that is sealed with it: key and vector of a signature, in base64 (section 2.2)


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says of a movement: ``meaning`` of all its codes together, ``codes`` and ``word`` as they came."""

    answer: Answer
    codes: tuple[object, ...]  # what is said of the movement before what is said of the call
    meaning: Meaning
    silent: bool  # none of its codes has a meaning, and none contradicts
    word: str
    denied: bool  # its own flag says that it is no success
    transaction: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The first of its codes that is not the transport's, else the first; empty where it has none."""
        said = next((code for code in self.codes if code not in TRANSPORT), next(filter(None, self.codes), ""))
        return str(said)

    @property
    def failed(self) -> Reason | None:
        """Why the movement, or the call, was refused, where the codes say so."""
        return self.meaning if isinstance(self.meaning, Reason) and self.meaning is not Reason.DUPLICATE else None

    @property
    def receipt(self) -> str:
        """Airtel's own id of the movement; empty where it is not told."""
        told = self.transaction.get("airtel_money_id")
        return short(told) if isinstance(told, str) else ""

    @property
    def raw(self) -> str:
        """Its word, or else its code, fit for a row and a log."""
        return short(self.word or self.code)

    @property
    def by_word(self) -> bool:
        """Whether its codes leave it to its word: they speak of the call that was taken, or of nothing listed here."""
        return self.silent or self.meaning is Pending

    @property
    def failure(self) -> Failed | None:
        """Its end, where its word is a failure's and its codes agree or are silent; those of the call say nothing."""
        why = Reason.INTERNAL if self.by_word else self.failed if self.code.startswith("DP") else None
        if why is None or STATUSES.get(self.word) is not Failed:
            return None
        return Failed(Reason.EXPIRED if self.word == EXPIRED else why, short(self.code or self.word))

    @property
    def call_failed(self) -> bool:
        """Whether a request was refused inside HTTP 200, whatever its code says of the call."""
        refused = self.denied and CALL_FAILED in self.codes and self.answer.status == HTTPStatus.OK
        return refused and self.by_word

    @property
    def unknown(self) -> bool:
        """Whether Airtel knows of no such movement, or refuses to say more of it than of the request."""
        nowhere = self.answer.status not in OUTAGES and any(code in NOT_FOUND for code in self.codes)
        return not self.word and (nowhere or self.call_failed)

    def taken(self, kind: Kind) -> bool:
        """Whether it says of a request that it was taken, and no more; of a refund its word alone says so."""
        if self.meaning is Reason.DUPLICATE:
            return True
        if self.answer.status != HTTPStatus.OK:
            return False
        if kind is Kind.REFUND and self.word == GIVEN_BACK:
            return self.failed is None
        taken = self.meaning is Pending or (kind is Kind.COLLECTION and self.meaning is Succeeded)
        return taken and not self.call_failed

    def ended(self, word: str, named: str) -> bool:
        """Whether the movement of this id has that word, and neither the codes nor the flag contradict it."""
        if self.word != word or self.denied or self.code == CALL_FAILED or self.answer.status != HTTPStatus.OK:
            return False
        return (self.meaning is Succeeded or self.by_word) and self.is_about(named)

    def is_about(self, named: str) -> bool:
        """Whether it names the movement of this id; where a code confirms its word, no other is enough."""
        told = self.transaction.get("id")
        return told == named or (told is None and not self.by_word)


def read(answer: Answer, kind: Kind) -> Said:
    """What an answer to a call of this kind says; empty where it cannot be read."""
    told = answer.json()
    status, transaction = member(told, "status"), member(member(told, "data"), "transaction")
    codes = [status.get("response_code"), status.get("result_code")]
    own = status.get("code")  # HTTP's, or one more
    codes += [own] if isinstance(own, str) and (own in MEANINGS or not own.isdigit()) else []
    words = f"{status.get('message')} {transaction.get('message')}"
    speaking = [code for code in codes if not _is_silent(code, kind)]
    word = transaction.get("status")
    return Said(
        answer, tuple(codes), _together([_meaning(code, kind, words) for code in speaking]),
        silent=bool(status) and not speaking, word="" if word is None else str(word),
        denied=status.get("success") is False, transaction=transaction,
    )  # fmt: skip


def standing(said: Said, reference: UUID, amount: Money) -> Status:
    """Where a movement stands by the answer to an enquiry about it; raises what an answer means that does not tell."""
    meaning, named = STATUSES.get(said.word), written(reference)
    if said.answer.status != HTTPStatus.OK:
        raise error(said, CONFIGURATION)
    if said.receipt and said.ended(PAID, named):
        return Succeeded(said.receipt, amount)
    if said.failure and said.is_about(named):
        return said.failure
    if (meaning is Pending and said.by_word) or (not said.word and said.meaning is Pending):
        return Pending(said.raw)
    raise error(said, CONFIGURATION)


def claimed(transaction: Mapping[str, Any]) -> Status:
    """What a callback's transaction claims: its word and receipt, and why it failed where its code tells (2.5).

    Its code may be the only place where the reason stands. Of how much was paid it says nothing.
    """
    word, code = transaction.get("status_code"), transaction.get("code")
    silent = _is_silent(code, Kind.COLLECTION)
    meaning = None if silent else _meaning(code, Kind.COLLECTION, str(transaction.get("message")))
    word = word if isinstance(word, str) else ""
    said = Said(Answer(HTTPStatus.OK, {}, b""), (code,), meaning, silent, word, denied=False, transaction=transaction)
    if word == PAID:
        return Claimed(PAID, receipt=said.receipt)
    return said.failure or Pending(short(word))


def error(said: Said, believed: frozenset[Reason] = frozenset(Reason)) -> ProviderError:
    """What an answer that is no result says about the call; only of the reasons ``believed`` that it was refused."""
    status = said.answer.status
    detail = f"HTTP {status} {short(said.code)} {short(said.word)}".strip()
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(said.answer.retry_after, detail)
    if status == HTTPStatus.NOT_FOUND and _is_routed_nowhere(said.answer):
        return Throttled(said.answer.retry_after, detail, alert=NOT_AUTHORISED)
    reason = said.failed or (None if said.code else REFUSED.get(status))
    refuses = status == HTTPStatus.OK or status in REFUSED
    certain = STATUSES.get(said.word) is Failed or not (said.word or said.code in IN_PROCESS_ELSEWHERE)
    if reason in believed and refuses and certain:
        return Rejected(reason, detail)
    unreadable = status == HTTPStatus.OK and not said.code
    return Unknown(detail, outage=status in OUTAGES or unreadable)


def takes_part(answer: Answer) -> bool:
    """Whether an answer about a person says that their wallet can be paid; raises what any other means (2.3)."""
    code = read(answer, Kind.COLLECTION).code
    if (code in NO_USER and answer.status not in OUTAGES) or (code, answer.status) == (USER_FAILED, HTTPStatus.OK):
        return False
    match data(answer, USER_FOUND):
        case {"is_barred": bool(barred), "registration": {"status": str(word)}}:
            return not barred and word.strip().upper() not in UNREGISTERED
    raise Unknown("no registration in the answer")


def _is_routed_nowhere(answer: Answer) -> bool:
    """Whether the gateway knows no such address: nobody behind it has read the request (section 2.4)."""
    match answer.json():
        case {"message": str(words)}:
            return words.lower().startswith(NO_ROUTE)
    return False


def data(answer: Answer, found: str) -> dict[str, Any]:
    """The data of an answer whose response_code is ``found``; raises what any other means."""
    told = answer.json()
    if answer.status == HTTPStatus.OK and member(told, "status").get("response_code") == found:
        return member(told, "data")
    raise error(read(answer, Kind.COLLECTION))


def member(told: object, name: str) -> dict[str, Any]:
    """An object's member that is an object; empty where there is none."""
    value = told.get(name) if isinstance(told, dict) else None
    return value if isinstance(value, dict) else {}


def written(reference: UUID) -> str:
    """A reference as a transaction's id: 25 digits and capitals."""
    number, digits = reference.int, ""
    for _ in range(25):
        number, digit = divmod(number, 36)
        digits = BASE_36[digit] + digits
    return digits


def read_back(named: object) -> UUID | None:
    """The reference in a transaction's id; None where it is none of ours."""
    with suppress(ValueError):
        return UUID(int=int(named, 36)) if isinstance(named, str) and ID.fullmatch(named) else None
    return None


def fits(key: str, told: object) -> bool:
    """Whether a callback's hash is that of the rest of it, or that of its transaction (section 2.5)."""
    given = told.get("hash") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(given, str):
        return False
    parts = [{name: value for name, value in told.items() if name != "hash"}, told.get("transaction")]
    compact = [json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") for part in parts]
    hashes = [base64.b64encode(hmac.digest(key.encode(), each, "sha256")) for each in compact]
    fit = [hmac.compare_digest(given.encode("utf-8", "replace"), each) for each in hashes]
    return any(fit)


def usable_key(text: str) -> RSAPublicKey:
    """A public key that holds whatever we seal; raises ValueError."""
    key = rsa.public_key(text)
    rsa.encrypt(key, bytes(SEALED_BYTES))
    return key


def until(told: object, now: datetime) -> datetime:
    """Until when a key holds: ``2027-01-31 00:00:00``, which names no zone."""
    with suppress(ValueError):
        return datetime.fromisoformat(str(told)).replace(tzinfo=UTC)
    return now + KEY_LIFE


def _is_silent(code: object, kind: Kind) -> bool:
    """Whether a code says nothing of a movement of this kind, and contradicts nothing."""
    if code in TRANSPORT:
        return True
    if not isinstance(code, str) or code in MEANINGS or not BY_WORD.fullmatch(code):
        return False
    return code.startswith(FAMILIES[kind]) or not code.startswith(tuple(FAMILIES.values()))


def _meaning(code: object, kind: Kind, words: str) -> Meaning:
    """What a code means beside these words."""
    if not isinstance(code, str) or (code.startswith("DP") and not code.startswith(FAMILIES[kind])):
        return None
    worded = (reason for pattern, reason in WORDS.get(code, ()) if pattern.search(words))
    return next(worded, MEANINGS.get(code))


def _together(meanings: list[Meaning]) -> Meaning:
    """What several codes say: the first of many reasons, and nothing where they differ in more than the reason."""
    if Reason.DUPLICATE in meanings:
        return Reason.DUPLICATE
    alike = len(set(meanings)) == 1 or all(isinstance(meaning, Reason) for meaning in meanings)
    return meanings[0] if meanings and alike else None
