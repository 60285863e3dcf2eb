"""Airtel Money's one shape of answers, its codes, and the application's switches (wire/momo.md section 2).

Words that the section does not quote are ours.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic_settings import SettingsConfigDict
from starlette.responses import JSONResponse, Response

from ussd_app.sandbox.switches import Switches
from ussd_app.sandbox.wire import Refused

DONE, FAILED = "ESB000010", "ESB000011"  # of the transport alone: what became of the money stands in the response code

# What the last three digits of a response code mean, for collections and for disbursements (section 2.4).
WORDS: Mapping[str, Mapping[str, str]] = {
    "DP00800001": {
        "000": "Transaction ambiguous",
        "001": "Transaction successful",
        "002": "Incorrect PIN",
        "003": "Exceeds withdrawal amount limit",
        "004": "Invalid amount",
        "005": "User did not enter the PIN",
        "006": "Transaction in process",
        "007": "Not enough balance",
        "008": "Transaction refused",
        "010": "Transaction not permitted to payer",
        "025": "Transaction not found",
        "026": "X-signature and payload did not match",
        "029": "Transaction expired",
    },
    "DP00900001": {
        "000": "Transaction ambiguous",
        "001": "Transaction successful",
        "003": "Maximum transaction limit reached",
        "004": "Invalid amount",
        "005": "Transaction failed",
        "006": "Transaction in process",
        "007": "Insufficient funds",
        "010": "Payee not allowed",
        "012": "Invalid mobile number",
        "013": "Transaction refused",
        "015": "Transaction not found",
        "016": "X-signature and payload did not match",
        "017": "Duplicate transaction id",
    },
}
# What the older platform's codes call a collection's end (section 2.4); others have none of their own there.
SHORT: Mapping[str, str] = {"001": "001", "002": "023", "004": "013", "007": "021", "010": "016"}
SHORT_FAMILY, SHORT_FAILED = "DP008001", "013"
NO_USER: Mapping[str, str] = {
    "DP02200000000": "User enquiry failed",
    "DP02200000002": "User not found",
    "DP02100000002": "User not found, invalid MSISDN",
    "ESB000004": "Not found",
}
REFUSALS: Mapping[str, str] = {
    "ROUTER003": "Mandatory parameter is missing",
    "ROUTER006": "Invalid country",
    "ROUTER007": "Country is not enabled for this application",
    "ROUTER112": "Invalid currency",
    "ROUTER115": "Incorrect PIN",
    "ROUTER116": "Incorrect encrypted PIN",
    "ROUTER117": "Request timeout",
    "ROUTER119": "Missing currency",
    "ESB000008": "Field validation error",
    "ESB000033": "Invalid MSISDN length",
    "ESB000034": "Invalid country",
    "ESB000035": "Invalid currency",
    "ESB000036": "Invalid MSISDN",
    "ESB000041": "Transaction with external transaction id already exists",
    "ESB000045": "No transaction found with provided transaction id",
}
OUTAGES = {429: "Too many requests", 500: "Internal server error", 503: "Service unavailable", 504: "Request timeout"}


class AirtelSwitches(Switches):
    """What differs from application to application, what the documents leave open, and how long things take."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_AIRTEL_")

    prompt_seconds: float = 180.0  # until an unanswered prompt expires
    token_seconds: int = 180
    expires_in: Literal["text", "number"] = "text"
    signing: bool = False  # whether calls of version 2 and later must be signed (section 2.2)
    pin_padding: Literal["pkcs1", "oaep"] = "pkcs1"
    outcomes_by_number: bool = True  # wire/operators.md section 7, suffixes 010 to 064
    accepted_code: Literal["006", "001"] = "006"  # of a push that is taken, which is never more than that
    refund_flag: bool = False  # `success` of a refund that is done; a documented sample says false
    refusal_status: Literal[200, 400] = 200  # HTTP's, with codes of router and service bus
    refusals_in: Literal["result_code", "response_code"] = "result_code"  # where those codes stand
    pending_word: Literal["TIP", "TI", "TP"] = "TIP"
    # Beside a transaction in an enquiry: its own code, that of the call (006), the older platform's, or none.
    enquiry_code: Literal["own", "call", "short", "none"] = "own"
    callback_code: bool = False  # whether a callback has the older platform's code beside its word
    no_user: Literal["DP02200000000", "DP02200000002", "DP02100000002", "ESB000004"] = "DP02200000002"
    callback_url: str = ""  # in place of the one the sandbox was started with
    callback_hash: Literal["none", "body", "transaction"] = "none"  # what it is made of: candidates (a), (b)
    callback_key: str = "of-the-sandbox"


class Answers:
    """The shape, as the switches have it."""

    def __init__(self, switches: AirtelSwitches) -> None:
        self._switches = switches

    def refused(self, code: str) -> Refused:
        """End the request with a code of the router or the service bus: ``ROUTER007``, ``ESB000041``."""
        http, where = self._switches.refusal_status, self._switches.refusals_in
        status = {"code": str(http), "message": REFUSALS[code], where: code, "success": False}
        return Refused(JSONResponse({"status": status}, http))

    def no_user(self) -> Response:
        """What KYC says of a number without a wallet."""
        code = self._switches.no_user
        if code.startswith("ESB"):
            return answer(NO_USER[code], None, success=False, result_code=code)
        return answer(NO_USER[code], code, success=False)

    def enquired(self, family: str, code: str) -> str | None:
        """The response code of an enquiry about a transaction that stands at ``code``."""
        match self._switches.enquiry_code:
            case "none":
                return None
            case "call":
                return f"{family}006"
            case "short" if family == "DP00800001" and code != "006":
                return short(code)
        return family + code


def short(code: str) -> str:
    """The older platform's code for a collection that has ended with that one."""
    return SHORT_FAMILY + SHORT.get(code, SHORT_FAILED)


def answer(
    message: str, response_code: str | None, *, data: object = None, success: bool = True, result_code: str = DONE
) -> Response:
    """An answer of the service, whatever became of the money: HTTP 200 always."""
    coded = {} if response_code is None else {"response_code": response_code}
    status = {"code": "200", "message": message, "result_code": result_code, **coded, "success": success}
    return JSONResponse({"status": status} if data is None else {"data": data, "status": status})


def failed(family: str, code: str, data: object = None) -> Refused:
    """End the request with a response code of failure, such as ``DP00900001`` and ``017``."""
    return Refused(answer(WORDS[family][code], family + code, data=data, success=False, result_code=FAILED))


def refused_inside(family: str) -> Refused:
    """End the request with a refusal inside HTTP 200, whose code says that the call was accepted."""
    shown = {"transaction": {"status": "FAILED"}}
    return Refused(answer("Request failed", f"{family}006", data=shown, success=False, result_code=FAILED))


def nobody() -> Refused:
    """End a push to a number that Airtel does not know, in the words of a code with another meaning."""
    status = {"code": "400", "message": "Msisdn Not Found", "response_code": "DP00800001005", "success": False}
    return Refused(JSONResponse({"status": status}, 400))


def oauth_error(status: int, error: str, description: str) -> Refused:
    """End the request with an error of the token's kind (section 2.1)."""
    return Refused(JSONResponse({"error": error, "error_description": description}, status))


def broken(status: int) -> Response:
    """An outage, in the same shape; 504 is the router's own time-out, and 404 has the gateway's shape."""
    if status == 404:  # noqa: PLR2004 - HTTP's own number
        return JSONResponse({"message": "no Route matched with those values"}, 404)
    said: dict[str, Any] = {"code": str(status), "message": OUTAGES[status], "success": False}
    if status == 504:  # noqa: PLR2004 - the same
        said["result_code"] = "ROUTER117"
    response = JSONResponse({"status": said}, status)
    if status == 429:  # noqa: PLR2004 - the same
        response.headers["retry-after"] = "1"
    return response
