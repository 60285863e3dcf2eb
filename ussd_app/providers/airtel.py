"""What Airtel Money's answers say, read (wire/momo.md sections 2.3 and 2.4).

HTTP 200 is no success: an end is one where a transaction's word and the codes beside it agree.
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

from ussd_app.errors import ProviderError, Reason, Rejected, Throttled, Unknown
from ussd_app.http import Answer
from ussd_app.movement import Failed, Kind, Pending, Status, Succeeded
from ussd_app.providers import rsa
from ussd_app.providers.client import OUTAGES, short

# What a word or a code says of a movement; None where it says nothing that could be an end.
Meaning = Reason | type[Pending] | type[Succeeded] | None

# A transaction's word. TA is ambiguous; TR is what a refund makes of TS; a word that is not listed is never final.
STATUSES: Mapping[str, type[Status] | None] = {
    "TS": Succeeded, "TF": Failed, "TE": Failed, "TIP": Pending, "TA": None, "TR": None,
}  # fmt: skip
PAID, EXPIRED, REVERSED = "TS", "TE", "TR"
GIVEN_BACK = "SUCCESS"  # the word of a refund that was taken

# Codes by their beginning and their meaning; one that is not listed is never final.
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
    "ROUTER": {
        Reason.NOT_AUTHORISED: "001 005 114 115 116", Reason.BAD_REQUEST: "003 006 007 112 119", None: "117",
    },
    "ESB000": {
        Reason.BAD_REQUEST: "008 033 034 035 036", Reason.NOT_AUTHORISED: "039", Reason.DUPLICATE: "041",
        None: "001 004 014 045",
    },
    "0000": {None: "900"},
}  # fmt: skip
MEANINGS: Mapping[str, Meaning] = {
    beginning + end: meaning
    for beginning, meanings in CODES.items()
    for meaning, ends in meanings.items()
    for end in ends.split()
}
FAMILIES = {Kind.COLLECTION: "DP008", Kind.DISBURSEMENT: "DP009", Kind.REFUND: "DP008"}  # whose codes a kind may have
TRANSPORT = ("ESB000010", "ESB000011", None, "")  # say nothing: the response_code beside them does

KEY_FOUND, BALANCE_FOUND = "DP02010001001", "DP02100000001"
USER_FOUND, NO_USER = "DP02200000001", "DP02200000000"
STALE_KEY = frozenset({"DP00800001026", "DP00900001016", "ROUTER116"})  # sealed for a key that is not theirs

CONFIGURATION = frozenset({Reason.NOT_AUTHORISED, Reason.BAD_REQUEST})
REFUSED = {400: Reason.BAD_REQUEST, 401: Reason.NOT_AUTHORISED, 403: Reason.NOT_AUTHORISED}

BASE_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ID = re.compile("[0-9A-Z]{25}")  # of a transaction: a UUID is 25 digits in base 36, and no more are surely taken
KEY_LIFE = timedelta(hours=1)  # of a public key that does not say until when
SEALED_BYTES = 69  # the longest that is sealed with it: key and vector of a signature, in base64 (section 2.2)


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says of a movement: ``meaning`` of all its codes together, ``code`` and ``word`` as they came."""

    answer: Answer
    code: str
    meaning: Meaning
    word: str
    denied: bool  # its own flag says that it is no success
    transaction: Mapping[str, Any]

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

    def taken(self, kind: Kind) -> bool:
        """Whether it says of a request that it was taken, and no more; of a refund its word alone says so."""
        if self.meaning is Reason.DUPLICATE:
            return True
        if self.answer.status != HTTPStatus.OK:
            return False
        if kind is Kind.REFUND and self.word == GIVEN_BACK:
            return self.failed is None
        return self.meaning is Pending or (kind is Kind.COLLECTION and self.meaning is Succeeded)

    def ended(self, word: str, named: str) -> bool:
        """Whether the movement of this id has that word, and neither the codes nor the flag contradict it."""
        agreed = self.meaning is Succeeded and not self.denied and self.answer.status == HTTPStatus.OK
        return agreed and self.word == word and self.is_about(named)

    def is_about(self, named: str) -> bool:
        """Whether it names no other movement than the one of this id."""
        return self.transaction.get("id") in (None, named)


def read(answer: Answer, kind: Kind) -> Said:
    """What an answer to a call of this kind says; empty where it cannot be read."""
    told = answer.json()
    status, transaction = member(told, "status"), member(member(told, "data"), "transaction")
    codes = [status.get("response_code"), status.get("result_code")]
    codes += [code for code in (status.get("code"),) if isinstance(code, str) and code in MEANINGS]  # else HTTP's own
    meanings = [_meaning(code, kind) for code in codes if code not in TRANSPORT]
    code = next((code for code in codes if code not in TRANSPORT), next(filter(None, codes), ""))
    word = transaction.get("status")
    return Said(
        answer, str(code), _together(meanings), "" if word is None else str(word), status.get("success") is False,
        transaction,
    )  # fmt: skip


def error(said: Said, believed: frozenset[Reason] = frozenset(Reason)) -> ProviderError:
    """What an answer that is no result says about the call; only of the reasons ``believed`` that it was refused."""
    status = said.answer.status
    detail = f"HTTP {status} {short(said.code)} {short(said.word)}".strip()
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(said.answer.retry_after, detail)
    reason = said.failed or (None if said.code else REFUSED.get(status))
    refuses = status == HTTPStatus.OK or status in REFUSED
    if reason in believed and refuses and (not said.word or STATUSES.get(said.word) is Failed):
        return Rejected(reason, detail)
    unreadable = status == HTTPStatus.OK and not said.code
    return Unknown(detail, outage=status in OUTAGES or unreadable)


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


def _meaning(code: object, kind: Kind) -> Meaning:
    if not isinstance(code, str) or (code.startswith("DP") and not code.startswith(FAMILIES[kind])):
        return None
    return MEANINGS.get(code)


def _together(meanings: list[Meaning]) -> Meaning:
    """What several codes say: the first of many reasons, and nothing where they differ in more than the reason."""
    if Reason.DUPLICATE in meanings:
        return Reason.DUPLICATE
    alike = len(set(meanings)) == 1 or all(isinstance(meaning, Reason) for meaning in meanings)
    return meanings[0] if meanings and alike else None
