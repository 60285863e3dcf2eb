"""What can go wrong with an outside party, and nothing else.

    ProviderError
    |-- Rejected(reason)   it certainly did not happen
    |-- Unknown            it may have happened: ask, never repeat under a new reference
    `-- Throttled(after)   it was not taken: the same call may be made again later

Expected business results (low balance, wrong PIN, limit reached) are return values, not exceptions.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why something failed, in words common to every provider (wire/momo.md section 0, wire/sms.md section 1.2)."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    REJECTED_BY_PAYER = "rejected_by_payer"
    EXPIRED = "expired"
    WRONG_PIN = "wrong_pin"
    PARTY_NOT_FOUND = "party_not_found"
    PARTY_NOT_ALLOWED = "party_not_allowed"
    LIMIT_REACHED = "limit_reached"
    AMOUNT_INVALID = "amount_invalid"
    UNREACHABLE = "unreachable"
    SERVICE_UNAVAILABLE = "service_unavailable"
    NOT_AUTHORISED = "not_authorised"
    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    DUPLICATE = "duplicate"
    INTERNAL = "internal"

    BAD_RECIPIENT = "bad_recipient"
    POLICY_BLOCK = "policy_block"
    PROVIDER_CONFIG = "provider_config"
    PROVIDER_FUNDS = "provider_funds"
    NO_ROUTE = "no_route"
    OUT_OF_STOCK = "out_of_stock"


# What a person must see to (docs/running.md).
PAGE = "a page instead of an answer"
NOT_AUTHORISED = "not authorised"


class ProviderError(Exception):
    """A call to an outside party did not give the result asked for.

    ``outage`` says that its service failed us (no connection, no whole answer, 5xx), whatever it was asked: such
    errors in a row open its breaker. ``alert`` says what a person must see to; empty where nobody need.
    """

    outage = False
    alert = ""


class Rejected(ProviderError):
    """It certainly did not happen, and repeating it unchanged would not help."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.alert = NOT_AUTHORISED if reason is Reason.NOT_AUTHORISED else ""


class Unknown(ProviderError):
    """It may have happened. Only a status query, a callback or a person can tell."""

    def __init__(self, detail: str, *, outage: bool = False, alert: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.outage = outage
        self.alert = alert


class Throttled(ProviderError):
    """It was not taken (busy, unreachable, too fast); the same call may be made again.

    ``after`` is in seconds.
    """

    def __init__(self, after: float, detail: str = "", *, outage: bool = False, alert: str = "") -> None:
        super().__init__(f"not taken, again in {after:g} s: {detail}")
        self.after = after
        self.detail = detail
        self.outage = outage
        self.alert = alert
