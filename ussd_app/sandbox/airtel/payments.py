"""The life of what Airtel Money was asked for, from acceptance to callback (wire/momo.md sections 2.3 to 2.5)."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from ussd_app.money import Money
from ussd_app.sandbox.airtel.answers import WORDS, AirtelSwitches, short
from ussd_app.sandbox.airtel.numbers import CARRIERS, Fate, fate
from ussd_app.sandbox.books import Movement, Status
from ussd_app.sandbox.country import Country, Handset, Verdict

Kind = Literal["collection", "disbursement"]
FAMILIES: Mapping[Kind, str] = {"collection": "DP00800001", "disbursement": "DP00900001"}
NOT_FOUND: Mapping[Kind, str] = {"collection": "025", "disbursement": "015"}
UNSIGNED: Mapping[Kind, str] = {"collection": "026", "disbursement": "016"}

# The status and code of each end; TS moves the money first.
PAID = "TS", "001"
NO_FUNDS = "TF", "007"
EXPIRED: Mapping[Kind, tuple[str, str]] = {"collection": ("TE", "029"), "disbursement": ("TE", "005")}
VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    "approve": PAID,
    "reject": ("TF", "008"),
    "expired": EXPIRED["collection"],
}


@dataclass(slots=True)
class Payment:
    """One accepted request and where it stands. ``told`` is set when its first callback is through."""

    kind: Kind
    movement: Movement
    number: int
    fate: Fate | None
    status: str = "TIP"
    code: str = "006"
    money_id: str = ""
    denied: bool = False  # enquiries say that it failed, and it did not
    told: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reference_id(self) -> str:
        """Airtel's own id of what was asked, whatever becomes of it."""
        return f"R{9_000_000 + self.number}"

    @property
    def words(self) -> str:
        """What its code means."""
        return WORDS[FAMILIES[self.kind]][self.code] if self.status != "TR" else "Transaction reversed"

    @property
    def response_code(self) -> str:
        """Where it stands, as answers say."""
        return FAMILIES[self.kind] + self.code


class Payments:
    """Every accepted request by its ``transaction.id``, which is unique in the application."""

    def __init__(self, country: Country, switches: AirtelSwitches) -> None:
        self._country = country
        self._switches = switches
        self._payments: dict[str, Payment] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._payments

    def find(self, kind: Kind, key: str) -> Payment | None:
        """The request of that kind and id."""
        payment = self._payments.get(key)
        return payment if payment and payment.kind == kind else None

    def collected_as(self, money_id: str) -> Payment | None:
        """The collection Airtel gave that id to."""
        made = (each for each in self._payments.values() if each.kind == "collection" and each.money_id)
        return next((each for each in made if each.money_id == money_id), None)

    def fate(self, handset: Handset) -> Fate | None:
        """What a number's digits say, where they have a say."""
        return fate(handset.msisdn) if self._switches.outcomes_by_number and self.has_wallet(handset) else None

    def has_wallet(self, handset: Handset) -> bool:
        """Whether a person has a wallet here: those of other networks have none."""
        return handset.active and self._country.on_network(handset, *CARRIERS)

    def accept(self, kind: Kind, key: str, reference: str, handset: Handset, amount: Money) -> Payment:
        """Take a request whose id is new, and set it going; who has no wallet is refused at once."""
        movement = self._country.ask("airtel", key, kind, handset, amount)
        payment = Payment(kind, movement, len(self._payments) + 1, self.fate(handset))
        self._payments[key] = payment
        collection = kind == "collection"
        if not self.has_wallet(handset):
            self._end(payment, ("TF", "010" if collection else "012"), tell=False)
        elif payment.fate:
            self._meet(payment, payment.fate)
        elif collection:
            self._country.prompt(
                handset, movement, reference, self._switches.prompt_seconds,
                lambda verdict: self._decided(payment, VERDICTS[verdict]),
            )  # fmt: skip
        else:
            self._decided(payment, PAID if handset.can_receive else ("TF", "010"))
        return payment

    def refund(self, payment: Payment) -> str | None:
        """Give a collection back in full; the code of why not, or None where it is done."""
        if payment.status != "TS":
            return "010"
        paid = payment.movement
        handset = self._country.handset(paid.msisdn)
        movement = self._country.ask("airtel", payment.money_id, "refund", handset, paid.amount)
        if not self._country.books.settle(movement):
            movement.status = Status.FAILED
            return NO_FUNDS[1]
        payment.status = "TR"
        return None

    def _meet(self, payment: Payment, fate: Fate) -> None:
        code = fate.collection if payment.kind == "collection" else fate.disbursement
        if fate.status in {"TS", "TF", "TE"}:
            self._end(payment, (fate.status, code))
            return
        payment.status, payment.code = fate.status, code
        if fate.succeeds_after is None:
            payment.told.set()  # nobody need wait for a callback that will not come
        else:
            self._country.background.later(fate.succeeds_after, partial(self._end, payment, PAID))

    def _decided(self, payment: Payment, end: tuple[str, str]) -> None:
        fault = self._country.faults.take(f"airtel.{payment.kind}", "late_success") if end == PAID else None
        if fault:
            self._end(payment, EXPIRED[payment.kind])
            self._country.background.later(fault.delay, partial(self._end, payment, PAID))
        else:
            self._end(payment, end)

    def _end(self, payment: Payment, end: tuple[str, str], *, tell: bool = True) -> None:
        """Make it final: where it is paid the money moves, if the balance lets it."""
        if end == PAID and not self._country.books.settle(payment.movement):
            end = NO_FUNDS
        payment.status, payment.code = end
        if end == PAID:
            payment.money_id = self._money_id(payment)
        else:
            payment.movement.status = Status.FAILED
        if payment.kind == "collection" and tell:
            body = self._callback(self._claimed(payment))
            self._country.background.later(0, partial(self._tell, payment, body))
        else:
            payment.told.set()

    def _money_id(self, payment: Payment) -> str:
        letter = "A" if payment.kind == "collection" else "B"
        return f"MP{self._country.clock.now():%y%m%d.%H%M}.{letter}{payment.number:05d}"

    def _claimed(self, payment: Payment) -> Payment:
        """How it stands by its callback; what enquiries will say is noted."""
        done = payment.status == "TS"
        paid, known = self._country.faults.told(f"airtel.{payment.kind}", paid=done)
        payment.denied = done and not known
        if paid == done:
            return payment
        return replace(payment, status="TS", code="001", money_id=self._money_id(payment)) if paid else refused(payment)

    def _callback(self, payment: Payment) -> bytes:
        """What is told: the address carries no id of the request, the body does (section 2.5)."""
        forged = payment.fate is not None and payment.fate.callback == "forged"
        amount = payment.movement.amount
        worth = Money(amount.minor * 2, amount.currency) if forged else amount
        said = f"Paid {worth}" if payment.status == "TS" else payment.words
        transaction = {"id": payment.movement.reference, "message": said, "status_code": payment.status}
        if self._switches.callback_code:
            transaction["code"] = short(payment.code)
        if payment.money_id:
            transaction["airtel_money_id"] = payment.money_id
        body: dict[str, Any] = {"transaction": transaction}
        if forged or self._switches.callback_hash != "none":
            key = f"not {self._switches.callback_key}" if forged else self._switches.callback_key
            hashed = transaction if self._switches.callback_hash == "transaction" else body
            digest = hmac.digest(key.encode(), _compact(hashed), hashlib.sha256)
            body = body | {"hash": base64.b64encode(digest).decode()}
        return _compact(body)

    async def _tell(self, payment: Payment, body: bytes) -> None:
        url = self._switches.callback_url or self._country.callback_urls.get("airtel", "")
        how = payment.fate.callback if payment.fate else "told"
        copies = {"lost": 0, "doubled": 2}.get(how, 1) if url else 0
        for _ in range(copies):
            await self._country.wire.notify(
                "airtel.collection", "callback", "POST", url,
                content=body, headers={"content-type": "application/json"},
            )  # fmt: skip
        payment.told.set()


def refused(payment: Payment) -> Payment:
    """The same, as if its payer had said no."""
    status, code = VERDICTS["reject"]
    return replace(payment, status=status, code=code, money_id="")


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
