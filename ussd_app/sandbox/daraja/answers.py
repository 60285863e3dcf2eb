"""Daraja's words: error answers, result codes, and the bodies it reads (wire/momo.md sections 3.1 to 3.4).

Texts the page does not quote are ours.
"""

import re
from typing import Annotated, Any

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

# errorCode -> HTTP status and errorMessage; `{}` is what the caller of it names.
ERRORS = {
    "400.002.02": (400, "Bad Request - Invalid {}"),
    "400.002.05": (400, "Invalid Request Payload"),
    "400.003.01": (400, "Invalid Access Token"),
    "400.008.01": (400, "Invalid Authentication passed"),
    "400.008.02": (400, "Invalid grant type passed"),
    "404.001.01": (404, "Resource not found"),
    "404.001.03": (404, "Invalid Access Token"),
    "404.003.01": (404, "Resource not found"),
    "405.001": (405, "Method Not Allowed"),
    "500.001.1001": (500, "{}"),
    "500.002.1001": (500, "{}"),
    "500.003.02": (429, "System is busy. Please try again in few minutes."),
    "500.003.1001": (500, "{}"),
}

# ResultCode -> ResultDesc, of those the sandbox says by itself. R000001 and R000002 are not in the page: codes nobody
# has in a table are met, and mean nothing to who does not know them.
RESULTS = {
    "0": "The service request is processed successfully.",
    "1": "The balance is insufficient for the transaction.",
    "3": "The amount is more than the maximum.",
    "4": "The daily limit would be exceeded.",
    "8": "The receiver's balance limit would be exceeded.",
    "11": "The debit party is in an invalid state.",
    "26": "System busy.",
    "1001": "Unable to lock subscriber, a transaction is already in process for the current subscriber.",
    "1019": "Transaction has expired.",
    "1032": "Request cancelled by user",
    "1037": "DS timeout user cannot be reached.",
    "2001": "The initiator information is invalid.",
    "2006": "The account status does not allow the transaction.",
    "2040": "The receiver is not a registered customer.",
    "4999": "The transaction is still under processing.",
    "SFC_IC0003": "The operator does not exist.",
    "R000001": "The transaction has already been reversed.",
    "R000002": "The original transaction is not known.",
}


def described(code: str) -> str:
    """The ResultDesc of a code."""
    return RESULTS.get(code, "The transaction failed.")


def as_result(code: str) -> int | str:
    """A ResultCode as callbacks and results carry it: a number, where it is one (sections 3.2 and 3.3)."""
    return int(code) if code.isdigit() else code


def _name(field: str) -> str:
    """``call_back_url`` -> ``CallBackURL``, ``command_id`` -> ``CommandID``."""
    return re.sub(r"(Url|Id)$", lambda found: found[0].upper(), to_pascal(field))


def _text(value: Any) -> Any:  # noqa: ANN401 - as it was sent
    """Numbers may come as text, and texts of digits as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _whole(value: Any) -> int:  # noqa: ANN401 - as it was sent
    text = _text(value)
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError("no whole number")
    return int(text)


Text = Annotated[str, BeforeValidator(_text)]
Whole = Annotated[int, BeforeValidator(_whole)]  # 1500 or "1500", never 1500.0
ShortCode = Annotated[Text, Field(pattern=r"^[0-9]{5,7}$")]
Timestamp = Annotated[Text, Field(pattern=r"^[0-9]{14}$")]
Subscriber = Annotated[Text, Field(pattern=r"^254[17][0-9]{8}$")]
Address = Annotated[str, Field(pattern=r"^https?://[^/\s]+\S*$", max_length=512)]


class Body(BaseModel):
    """Base of every body; fields are named as Daraja names them."""

    model_config = ConfigDict(alias_generator=AliasGenerator(alias=_name), strict=True)
