"""Provisions an MTN MoMo sandbox user and key, proves them with a token, and writes them to ``.env``.

Source: wire/momo.md sections 1.2 and 1.9. A sandbox user belongs to the subscription key it was made with, so two keys
make two users. MTN has no call to change a user: another callback host means another user.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2 as httpx

from ussd_app.clock import Clock
from ussd_app.config import load
from ussd_app.errors import ProviderError
from ussd_app.http import Answer, call
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind, Pending, Request, Status
from ussd_app.operators.mtn_momo import PRODUCTS, SANDBOX, SANDBOX_CURRENCY, Operator, Settings

PREFIX = "MTN_MOMO_"
TRIAL_NUMBER = Msisdn("+46733123499")  # of the sandbox's test range, and on no list of failures: it pays (section 1.9)
TRIAL_CHECKS = 10
KEY = re.compile(r"[0-9A-Za-z-]{16,128}")

# What MTN's answer to a provisioning call tells the person at the keyboard.
CAUSES = {
    400: "MTN refuses the callback host: PUBLIC_URL must have a host name MTN can call",
    401: "MTN refuses the subscription key: copy the primary key from momodeveloper.mtn.com, Profile",
    404: "there is no such user at MTN: is this the sandbox's address?",
}


class SetupError(Exception):
    """Provisioning did not work; the message says what to do, and holds no key."""


async def provision(
    http: httpx.AsyncClient, public_url: str, subscription_keys: Mapping[str, str], base_url: str = SANDBOX
) -> dict[str, str]:
    """Make one user and key for each different subscription key; gives the variables to set. Raises SetupError.

    ``subscription_keys`` names each of PRODUCTS. The variables do too, so that none left from before overrules them.
    """
    host = urlsplit(public_url).hostname or ""
    users = {key: await _user(http, base_url.rstrip("/"), host, key) for key in set(subscription_keys.values())}
    variables = {f"{PREFIX}ENVIRONMENT": "sandbox", f"{PREFIX}BASE_URL": base_url}
    for product, key in subscription_keys.items():
        names = (f"{PREFIX}{product.upper()}_{what}" for what in ("SUBSCRIPTION_KEY", "API_USER", "API_KEY"))
        variables |= zip(names, (key, *users[key]), strict=True)
    return variables


async def prove(
    http: httpx.AsyncClient, clock: Clock, variables: Mapping[str, str], *, collect: bool = False
) -> Status | None:
    """Fetch a token of each product and, if asked to, collect one euro from a test number; gives what became of it.

    Raises SetupError. A trial still under way after ten seconds is Pending.
    """
    given = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    operator = Operator(load(Settings, **given), http, None, clock)
    try:
        for product in PRODUCTS:
            await operator.token(product)
        return await _trial(operator, clock) if collect else None
    except ProviderError as error:
        raise SetupError(f"the new user does not work: {error}") from error


def write_env(path: Path, variables: Mapping[str, str]) -> None:
    """Set variables in a ``.env`` file: lines that name them are replaced, new ones appended, all others kept.

    Replaced in one step, and readable by its owner alone, since it holds keys.
    """
    left = dict(variables)
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        found = re.match(r"\s*(?:export\s+)?(\w+)\s*=", line)
        name = found[1] if found else ""
        if name not in variables:
            lines.append(line)
        elif name in left:
            lines.append(f"{name}={left.pop(name)}")
    lines += [f"{name}={value}" for name, value in left.items()]
    descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    Path(written).replace(path)


async def _user(http: httpx.AsyncClient, base_url: str, host: str, key: str) -> tuple[str, str]:
    user, headers = str(uuid4()), {"Ocp-Apim-Subscription-Key": key}
    body = {"providerCallbackHost": host}
    await _made(http, f"{base_url}/v1_0/apiuser", headers={**headers, "X-Reference-Id": user}, json=body)
    answer = await _made(http, f"{base_url}/v1_0/apiuser/{user}/apikey", headers=headers)
    match answer.json():
        case {"apiKey": str(secret)} if KEY.fullmatch(secret):
            return user, secret
    raise SetupError("MTN made a user and gave no key in an answer we can read")


async def _made(http: httpx.AsyncClient, url: str, **options: Any) -> Answer:  # noqa: ANN401 - httpx2's own
    try:
        answer = await call(http, "POST", url, **options)
    except ProviderError as error:
        raise SetupError(f"MTN's sandbox did not answer: {error}") from error
    if answer.status != HTTPStatus.CREATED:
        raise SetupError(CAUSES.get(answer.status, f"MTN's sandbox answered HTTP {answer.status}: try again later"))
    return answer


async def _trial(operator: Operator, clock: Clock) -> Status:
    amount = Money.of("1", SANDBOX_CURRENCY)
    request = Request(uuid4(), Kind.COLLECTION, TRIAL_NUMBER, amount, "trial", "Trial", callback_url="")
    status = await operator.submit(request)
    for _ in range(TRIAL_CHECKS):
        if not isinstance(status, Pending):
            break
        await clock.sleep(1)
        status = await operator.check(request)
    return status
