"""Faults on purpose: which, where, how often. The same plan and seed give the same faults in the same order."""

from fnmatch import fnmatchcase
from random import Random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

Name = Literal[
    # Of the exchange, before anything is done:
    "slow",  # `seconds` pass first
    "lost_request",  # the connection breaks after `seconds`, nothing was done
    "answer",  # the given `status` and `body` instead
    "500",
    "503",
    "429",
    "gateway_404",  # the provider's gateway knows no such address for us
    "firewall",  # the page of a wall before the provider, with 403 or the given `status`
    "token_expired",  # the token of this call has just been withdrawn
    # Of the exchange, after it was done:
    "accepted_then_timeout",  # the connection breaks after `seconds`
    "accepted_then_500",
    "accepted_then_answer",  # the given `status` and `body` instead
    "invalid_json",
    "html_200",
    # Of an operator's, a delivery's or an insight's callbacks:
    "lost_callback",
    "doubled_callback",  # `copies` at once
    "late_callback",
    "callback_first",  # before the answer of the request that caused it
    # Of a sender's delivery reports:
    "lost_report",
    "doubled_report",
    "late_report",
    "report_first",
    "reordered_report",
    # Of the business:
    "late_success",  # fails as expired, succeeds `seconds` later
    "queued_for_ever",  # a movement, a delivery or an insight that is taken and never ends
    "failed_after_accepted",  # a delivery that is taken and fails
    "query_denies",  # it is paid and its callback says so, queries say that it failed
    "callback_boasts",  # it fails and queries say so, its callback says that it is paid
    "callback_denies",  # it is paid and queries say so, its callback says that it failed
]

DEFAULT_SECONDS = {"slow": 5.0, "late_callback": 30.0, "late_report": 30.0, "late_success": 30.0}


class Fault(BaseModel):
    """One line of the plan: the first ``count`` occasions at ``target``, or a ``share`` of them drawn with ``seed``.

    ``target`` is a point such as ``mtn_momo.collection``, or a pattern of points such as ``mtn_momo.*``.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name
    target: str
    count: int | None = Field(None, ge=1)
    share: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    seconds: float | None = Field(None, ge=0, le=86_400)
    copies: int = Field(2, ge=2, le=100)
    status: int = Field(200, ge=200, le=599)
    body: str = ""
    content_type: str = "application/json"

    _random: Random = PrivateAttr()
    _fired: int = PrivateAttr(0)

    def model_post_init(self, _context: object) -> None:
        """Seed the draws."""
        self._random = Random(self.seed)  # noqa: S311 - a draw that can be repeated, not a secret

    @property
    def delay(self) -> float:
        """Its seconds, or the usual ones of its kind."""
        return DEFAULT_SECONDS.get(self.name, 0.0) if self.seconds is None else self.seconds

    def status_or(self, usual: int) -> int:
        """Its status where the plan names one."""
        return self.status if "status" in self.model_fields_set else usual

    def aims_at(self, point: str) -> bool:
        """Whether the point is in its target."""
        return fnmatchcase(point, self.target)

    def fires(self, point: str) -> bool:
        """Whether it strikes on this occasion; counts it if so."""
        if not self.aims_at(point) or (self.count is not None and self._fired >= self.count):
            return False
        if self.share < 1 and self._random.random() >= self.share:
            return False
        self._fired += 1
        return True

    def shown(self) -> dict[str, Any]:
        """As the control API shows it: the plan's line and how often it struck."""
        return {**self.model_dump(exclude_defaults=True), "fired": self._fired}


class Faults:
    """The plan in force."""

    def __init__(self) -> None:
        self.plan: list[Fault] = []

    def take(self, point: str, name: Name) -> Fault | None:
        """The fault of that name that strikes at this point now, if one does."""
        return next((fault for fault in self.plan if fault.name == name and fault.fires(point)), None)

    def told(self, point: str, *, paid: bool) -> tuple[bool, bool]:
        """Whether the callback says paid, and whether queries do, of what has ended so."""
        if paid and self.take(point, "query_denies"):
            return True, False
        if paid and self.take(point, "callback_denies"):
            return False, True
        if not paid and self.take(point, "callback_boasts"):
            return True, False
        return paid, paid
