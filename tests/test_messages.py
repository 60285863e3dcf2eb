"""The SMS queue on real stores: order, pace, failing over, and what reports may change."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import FakeClock
from limits.aio.storage.redis import redispy
from redis.asyncio import Redis, RedisCluster
from sqlalchemy import select
from structlog.testing import capture_logs

from ussd_app.errors import PAGE, Reason, Throttled, Unknown
from ussd_app.jobs import Jobs
from ussd_app.messages import Messages
from ussd_app.messages.outcomes import Priority
from ussd_app.messages.pace import Pace
from ussd_app.msisdn import Msisdn
from ussd_app.senders import Accepted, Limits, Outcome, Outgoing, Refused, Report, State
from ussd_app.store import Store, Work
from ussd_app.tables import message_attempts, messages, reports

AMA = Msisdn("+233240000001")
TEXT = "You sent GHS 50.00 to Kofi. Ref 12345678"

Answer = Outcome | Exception | Callable[[Outgoing], Awaitable[Outcome]]


class Wording:
    """A template of each class; its words are the variable ``words``."""

    def __init__(self) -> None:
        self.sms = {p.name.lower(): SimpleNamespace(priority=p.name.lower(), text_id=f"sms.{p}") for p in Priority}
        self.texts = self

    def render(self, _text_id: str, _language: str, variables: Mapping[str, Any]) -> str:
        """The variable ``words``."""
        return str(variables["words"])


class RecordingJobs(Jobs):
    """Remembers which pumps were woken."""

    def __init__(self) -> None:
        self.woken: list[str] = []

    async def defer(self, connection: Work, task: str, **options: Any) -> None:  # noqa: ANN401 - Jobs' own
        """Remember the sender."""
        assert isinstance(connection, Work)
        assert (task, options["queue"], options["lock"]) == ("messages.pump", "sms", f"sms:{options['sender']}")
        self.woken.append(options["sender"])


@dataclass
class Scripted:
    """A sender that answers as told, else takes everything; its reports are ``<id>=<state>`` (or ``<id>=<state>!``)."""

    name: str
    limits: Limits = field(default_factory=lambda: Limits(parts_per_second=1000, batch=5))
    answers: deque[Answer] = field(default_factory=deque)
    sent: list[Outgoing] = field(default_factory=list)

    async def send(self, message: Outgoing) -> Outcome:
        """The next scripted answer."""
        self.sent.append(message)
        answer = self.answers.popleft() if self.answers else Accepted(f"{self.name}-{len(self.sent)}")
        if isinstance(answer, Exception):
            raise answer
        return await answer(message) if callable(answer) else answer

    def parse_report(self, content_type: str, body: bytes) -> Report | None:
        """Ids that are UUIDs are ours."""
        words = body.decode().split()
        if content_type != "text/plain" or len(words) < 2:
            return None
        ours = len(words[0]) == 36
        reason = Reason(words[2]) if len(words) == 3 and not words[2].startswith("+") else None
        msisdn = words[2] if len(words) == 3 and words[2].startswith("+") else None
        return Report(None if ours else words[0], words[0] if ours else None, State(words[1]), "", reason, msisdn)


@dataclass
class Post:
    """A queue with two senders, and the database under it."""

    store: Store
    clock: FakeClock
    jobs: RecordingJobs
    first: Scripted
    second: Scripted
    messages: Messages

    async def queue(self, key: str = "event-1", template: str = "receipt", words: str = TEXT) -> None:
        """Commit one message to Ama."""
        async with self.store.work() as connection:
            await self.messages.queue(
                connection, key=key, msisdn=AMA, template=template, language="en", variables={"words": words}
            )

    async def run(self) -> None:
        """Run every pump that was woken, and those it wakes."""
        while self.jobs.woken:
            await self.messages.pump(self.jobs.woken.pop(0))

    async def later(self, seconds: float) -> None:
        """Let time pass, then do what the periodic job does."""
        self.clock.advance(seconds)
        await self.messages.wake()
        await self.run()

    async def report(self, words: str, sender: str = "first") -> None:
        """A delivery report comes in."""
        await self.messages.keep_report(sender, "reports", "text/plain", words.encode())

    async def row(self, key: str = "event-1") -> Any:  # noqa: ANN401 - a row
        """One message."""
        async with self.store.look() as connection:
            return (await connection.execute(select(messages).where(messages.c.key == key))).one()

    async def attempts(self) -> list[tuple[str, str]]:
        """Sender and state of every attempt, in order."""
        async with self.store.look() as connection:
            found = await connection.execute(select(message_attempts).order_by("started_at", "sender", "number"))
            return [(row.sender, row.state) for row in found]

    @property
    def handed_over(self) -> tuple[int, int]:
        """How many calls each sender got."""
        return len(self.first.sent), len(self.second.sent)


@pytest.fixture
async def post(store: Store, redis: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Post:
    """Two senders, first and second; the limiter goes by the test's clock."""
    monkeypatch.setattr(redispy, "time", SimpleNamespace(time=lambda: 1_700_000_000 + clock.monotonic()))
    first, second, jobs = Scripted("first"), Scripted("second"), RecordingJobs()
    queue = Messages(store, jobs, {"first": first, "second": second}, Wording, clock, redis)
    return Post(store, clock, jobs, first, second, queue)


def alone(post: Post, redis: Redis) -> Messages:
    """The same queue with only the first sender."""
    return Messages(post.store, post.jobs, {"first": post.first}, Wording, post.clock, redis)


@pytest.fixture
def alerts() -> Iterator[Callable[[], list[str]]]:
    """What a person was called for."""
    with capture_logs() as lines:
        yield lambda: [line["what"] for line in lines if (line["event"], line["log_level"]) == ("alert", "error")]


# --- queueing


async def test_one_event_makes_one_message(post: Post) -> None:
    """The same key twice is one row, one wake, one SMS, even when the words differ."""
    await post.queue()
    await post.queue(words="other words")
    assert post.jobs.woken == ["first"]
    await post.run()
    await post.run()
    assert [message.text for message in post.first.sent] == [TEXT]
    assert (await post.row()).state == "queued"


async def test_message_is_part_of_its_event(post: Post) -> None:
    """A commit that fails takes its message with it."""
    async with post.store.work() as work, work.savepoint():
        await post.messages.queue(
            work, key="k", msisdn=AMA, template="receipt", language="en", variables={"words": TEXT}
        )
        await work.undo()
    await post.later(0)
    assert post.handed_over == (0, 0)


async def test_what_a_row_says(post: Post) -> None:
    """Parts are counted, class and deadline come from the template."""
    await post.queue("code", "code", "a" * 161)
    row = await post.row("code")
    assert (row.parts, row.priority, row.sender, row.state) == (2, Priority.CODE, "first", "waiting")
    assert row.deadline - row.created_at == timedelta(minutes=5)


async def test_bulk_fills_no_job_queue(post: Post) -> None:
    """Reminders and bulk wake no pump of their own; the periodic waking finds them."""
    await post.queue(template="bulk")
    assert post.jobs.woken == []
    await post.later(0)
    assert (await post.row()).state == "queued"


# --- order and pace


async def test_receipt_overtakes_a_thousand_of_bulk(post: Post) -> None:
    """A receipt queued last is sent first."""
    async with post.store.work() as connection:
        for number in range(1000):
            await post.messages.queue(
                connection, key=f"b{number}", msisdn=AMA, template="bulk", language="en", variables={"words": "bulk"}
            )
    await post.queue()
    post.first.limits = Limits(parts_per_second=10, batch=1)
    await post.messages.pump("first")
    assert [message.text for message in post.first.sent[:3]] == [TEXT, "bulk", "bulk"]


async def test_classes_go_in_order_and_none_starves(post: Post) -> None:
    """Urgent first, but one message in twenty is of the lowest waiting class."""
    post.first.limits = Limits(parts_per_second=1000, batch=1)
    for number in range(30):
        await post.queue(f"b{number}", "bulk", "bulk")
        await post.queue(f"r{number}", "receipt", "receipt")
    await post.queue("n", "notice", "notice")
    await post.queue("c", "code", "code")
    await post.messages.pump("first")
    texts = [message.text for message in post.first.sent]
    assert texts[:21] == ["code", *["receipt"] * 18, "bulk", "receipt"]
    assert texts.index("notice") > max(place for place, text in enumerate(texts) if text == "receipt")
    assert [place for place, text in enumerate(texts[:32]) if text == "bulk"] == [19]
    assert len(texts) == 62


async def test_never_faster_than_allowed(post: Post) -> None:
    """No window of one second ever holds more parts than the sender takes."""
    moments: list[tuple[float, int]] = []

    async def noted(message: Outgoing) -> Outcome:
        moments.append((post.clock.monotonic(), message.parts))
        return Accepted(None)

    post.first.limits = Limits(parts_per_second=5, batch=5)
    post.first.answers.extend([noted] * 30)
    for number in range(30):
        await post.queue(f"k{number}", words="a" * (161 if number % 3 else 10))
    post.jobs.woken = ["first"]
    await post.run()
    assert len(moments) == 30
    for start, _ in moments:
        assert sum(parts for at, parts in moments if start <= at < start + 1) <= 5
    assert moments[-1][0] < 13  # 50 parts at 5 a second, no two fitting badly for long


async def test_two_processes_share_one_pace(redis: Redis, post: Post) -> None:
    """The window is counted in Redis, for all."""
    here, there = Pace(redis, post.clock), Pace(redis, post.clock)
    taken = [await pace.take("first", 1, 3) for pace in (here, there, here, there)]
    assert taken == [True, True, True, False]
    post.clock.advance(1.001)
    assert await there.take("first", 1, 3)


async def test_two_processes_count_in_a_cluster(cluster: RedisCluster, post: Post) -> None:
    """The pace is also kept on a cluster."""
    pace = Pace(cluster, post.clock)
    assert [await pace.take("first", 2, 3), await pace.take("first", 2, 3)] == [True, False]
    assert not pace._alone


async def test_text_longer_than_a_second_is_sent_all_the_same(redis: Redis, post: Post) -> None:
    """More parts than a second holds take the whole second, they do not wait for ever."""
    pace = Pace(redis, post.clock)
    assert await pace.take("first", 3, 2)
    assert not await pace.take("first", 1, 2)


async def test_one_part_a_second_without_redis(post: Post) -> None:
    """With Redis away SMS still go out, one part a second; Redis' return is noticed."""
    away = Redis(unix_socket_path="/nowhere/redis.sock")
    pace, clock = Pace(away, post.clock), post.clock
    assert not await pace.take("first", 1, 10)  # what Redis had counted in this second is not known
    clock.advance(1)
    assert await pace.take("first", 2, 10)
    clock.advance(1.9)
    assert not await pace.take("first", 1, 10)
    clock.advance(0.1)
    assert await pace.take("first", 1, 10)
    await away.aclose()


async def test_messages_without_redis(post: Post) -> None:
    """A queue whose Redis is away sends everything, slowly."""
    away = Redis(unix_socket_path="/nowhere/redis.sock")
    slow = Messages(post.store, post.jobs, {"first": post.first}, Wording, post.clock, away)
    for number in range(4):
        await post.queue(f"k{number}")
    began = post.clock.monotonic()
    await slow.pump("first")
    assert len(post.first.sent) == 4
    assert 4 <= post.clock.monotonic() - began < 6
    await away.aclose()


async def test_a_long_run_makes_room_for_the_next(post: Post) -> None:
    """A pump stops after some seconds and has itself run again, so that a worker can be stopped."""
    post.first.limits = Limits(parts_per_second=1, batch=1)
    for number in range(12):
        await post.queue(f"k{number}")
    post.jobs.woken.clear()
    await post.messages.pump("first")
    assert 4 <= len(post.first.sent) <= 6
    assert post.jobs.woken == ["first"]
    await post.run()
    assert len(post.first.sent) == 12


async def test_two_pumps_send_nothing_twice(post: Post) -> None:
    """Pumps that overlap share the rows."""
    for number in range(40):
        await post.queue(f"k{number}", words=f"text {number}")
    await asyncio.gather(post.messages.pump("first"), post.messages.pump("first"), post.messages.pump("first"))
    assert sorted(message.text for message in post.first.sent) == sorted(f"text {number}" for number in range(40))


# --- failing over


@pytest.mark.parametrize(
    ("reason", "handed_on"),
    [
        (Reason.PROVIDER_CONFIG, "code receipt notice reminder bulk"),
        (Reason.PROVIDER_FUNDS, "code receipt notice reminder bulk"),
        (Reason.NO_ROUTE, "code receipt notice reminder bulk"),
        (Reason.INTERNAL, "code receipt notice reminder bulk"),
        (Reason.PARTY_NOT_ALLOWED, "code receipt notice"),
        (Reason.POLICY_BLOCK, "code"),
        (Reason.BAD_RECIPIENT, ""),
        (Reason.BAD_REQUEST, ""),
    ],
)
async def test_refusal(reason: Reason, handed_on: str, post: Post) -> None:
    """The reason's class decides for which messages another sender is asked."""
    for priority in Priority:
        template = priority.name.lower()
        post.first.answers.append(Refused(reason))
        await post.queue(template, template, template)
        await post.later(0)
        await post.later(0)
        expected = "queued" if template in handed_on.split() else "failed"
        assert (template, (await post.row(template)).state) == (template, expected)
    assert [message.text for message in post.second.sent] == handed_on.split()


async def test_no_sender_is_left(post: Post) -> None:
    """Refused by all, a message has failed and a person is called; the words are never logged."""
    post.first.answers.append(Refused(Reason.NO_ROUTE))
    post.second.answers.append(Refused(Reason.NO_ROUTE))
    with capture_logs() as lines:
        await post.queue()
        await post.run()
        await post.later(60)
    assert ((await post.row()).state, post.handed_over) == ("failed", (1, 1))
    assert [line["what"] for line in lines if line["event"] == "alert"] == ["SMS not sent: no sender is left"]
    assert TEXT not in str(lines)


async def test_wrong_credentials_call_a_person(post: Post, alerts: Callable[[], list[str]]) -> None:
    """What only we can mend is told even though another sender took the message."""
    post.first.answers.append(Refused(Reason.PROVIDER_CONFIG))
    await post.queue()
    await post.run()
    assert (await post.row()).state == "queued"
    assert alerts() == ["SMS refused: provider_config"]


async def test_a_page_of_a_sender_calls_a_person_once_an_hour(post: Post, alerts: Callable[[], list[str]]) -> None:
    """However many messages meet it; they go to the next sender, as after any call that was not taken."""
    post.first.answers.extend([Throttled(2, "HTTP 403, a page", outage=True, alert=PAGE)] * 6)
    await post.queue("one")
    await post.queue("two")
    await post.run()
    for _ in range(4):
        await post.later(8)
    assert post.handed_over == (6, 2)
    assert alerts() == [PAGE]


async def test_throttled_is_tried_again_and_then_handed_on(post: Post) -> None:
    """Not taken: two more tries at growing distance, each with a fresh correlator, then the next sender."""
    post.first.answers.extend([Throttled(2)] * 3)
    await post.queue()
    await post.run()
    assert post.handed_over == (1, 0)
    await post.later(1.9)
    assert post.handed_over == (1, 0)
    await post.later(0.1)
    assert post.handed_over == (2, 0)
    await post.later(3.9)
    assert post.handed_over == (2, 0)
    await post.later(0.1)
    assert post.handed_over == (3, 1)
    assert len({message.correlator for message in [*post.first.sent, *post.second.sent]}) == 4
    assert await post.attempts() == [("first", "throttled")] * 3 + [("second", "accepted")]


async def test_long_throttling_is_not_waited_for(post: Post) -> None:
    """Asked to wait longer than patience, a message goes to the next sender at once."""
    post.first.answers.append(Throttled(120))
    await post.queue()
    await post.run()
    assert post.handed_over == (1, 1)


async def test_last_sender_is_tried_until_the_deadline(post: Post, redis: Redis) -> None:
    """With nobody else to ask, what was certainly not taken is tried at doubling distance, never past its deadline."""
    post.messages = alone(post, redis)
    post.first.answers.extend([Throttled(2)] * 50)
    await post.queue(template="code")
    await post.run()
    for _ in range(400):
        await post.later(1)
    assert len(post.first.sent) == 8  # after 0, 2, 6, 14, 30, 62, 126 and 254 s of 300
    assert (await post.row()).state == "failed"


async def test_throttling_rests_the_whole_sender(post: Post) -> None:
    """Told that we are too fast, a pump leaves the others alone for a while."""
    post.first.limits = Limits(parts_per_second=1000, batch=1)
    post.first.answers.append(Throttled(2))
    await post.queue("a", words="a")
    await post.queue("b", words="b")
    began = post.clock.monotonic()
    await post.messages.pump("first")
    assert post.clock.monotonic() - began >= 2
    assert len(post.first.sent) >= 2


@pytest.mark.parametrize(
    ("kind", "at_once", "after_30_s", "state"),
    [
        ("code", 1, 1, "queued"),
        ("receipt", 0, 1, "queued"),
        ("notice", 0, 1, "queued"),
        ("reminder", 0, 0, "unknown"),
        ("bulk", 0, 0, "unknown"),
    ],
)
@pytest.mark.parametrize("broken", [Unknown("read timeout"), KeyError("a defect of the sender's"), TimeoutError()])
async def test_perhaps_taken(
    kind: str, at_once: int, after_30_s: int, state: str, broken: Exception, post: Post
) -> None:
    """A code goes to the next sender at once, a receipt after a while, bulk is never sent again."""
    post.first.answers.append(broken)
    await post.queue(template=kind)
    await post.later(0)
    assert post.handed_over == (1, at_once)
    await post.later(29)
    assert post.handed_over == (1, at_once)
    await post.later(1)
    assert post.handed_over == (1, after_30_s)
    assert (await post.row()).state == state
    await post.later(3600)
    assert post.handed_over == (1, after_30_s)


async def test_perhaps_taken_by_the_last(post: Post, redis: Redis, alerts: Callable[[], list[str]]) -> None:
    """With nobody left to ask, a person is called, and the same sender is never asked again."""
    post.messages = alone(post, redis)
    post.first.answers.append(Unknown("read timeout"))
    await post.queue()
    await post.run()
    await post.later(60)
    assert (await post.row()).state == "unknown"
    assert len(post.first.sent) == 1
    assert alerts() == ["SMS perhaps not sent, and no sender is left"]


async def test_expired_unsent(post: Post, alerts: Callable[[], list[str]]) -> None:
    """A receipt nobody could be given in its hour is not sent late, and not lost in silence."""
    post.first.answers.append(Throttled(2))
    await post.queue()
    await post.run()
    await post.later(3601)
    assert (await post.row()).state == "expired"
    assert post.handed_over == (1, 0)
    assert alerts() == ["SMS expired unsent"]
    await post.later(1)
    assert len(alerts()) == 1


async def test_rows_of_a_sender_no_longer_in_use(post: Post, redis: Redis) -> None:
    """A sender taken out of the settings leaves no message behind."""
    await post.queue()
    post.messages = Messages(post.store, post.jobs, {"second": post.second}, Wording, post.clock, redis)
    await post.later(0)
    assert post.handed_over == (0, 1)


# --- death between attempt and outcome


class Killed(BaseException):
    """The process ends here."""


async def test_death_during_the_call_is_not_a_second_try(post: Post) -> None:
    """Who dies between attempt and outcome leaves "perhaps": a receipt waits for a report, then changes sender."""

    async def die(_message: Outgoing) -> Outcome:
        raise Killed

    post.first.answers.append(die)
    await post.queue()
    with pytest.raises(BaseExceptionGroup):
        await post.run()
    assert await post.attempts() == [("first", "sending")]
    post.jobs.woken.append("first")
    await post.run()  # another pump at once: the call might still be under way
    assert post.handed_over == (1, 0)
    await post.later(31)
    assert (await post.attempts(), post.handed_over) == ([("first", "indeterminate")], (1, 0))
    await post.later(30)
    assert post.handed_over == (1, 1)
    assert await post.attempts() == [("first", "indeterminate"), ("second", "accepted")]


async def test_death_after_the_reply(post: Post) -> None:
    """A report settles an attempt whose outcome was never written: nothing is sent again."""

    async def die(_message: Outgoing) -> Outcome:
        raise Killed

    post.first.answers.append(die)
    await post.queue()
    with pytest.raises(BaseExceptionGroup):
        await post.run()
    await post.report(f"{post.first.sent[0].correlator} delivered")
    await post.later(31)
    await post.later(60)
    assert (await post.row()).state == "delivered"
    assert post.handed_over == (1, 0)


async def test_late_acceptance_spares_the_next_sender(post: Post) -> None:
    """An answer that comes after its process was taken for dead still counts."""
    answer, answered = asyncio.Event(), asyncio.Event()

    async def slow(_message: Outgoing) -> Outcome:
        answered.set()
        await answer.wait()
        return Accepted("late")

    post.first.answers.append(slow)
    await post.queue()
    running = asyncio.create_task(post.run())
    await answered.wait()
    post.clock.advance(31)
    await post.messages.wake()  # takes it for dead
    assert (await post.row()).sender == "second"
    answer.set()
    await running
    await post.later(60)
    assert (await post.row()).state == "queued"
    assert post.handed_over == (1, 0)


# --- reports


async def delivered_states(post: Post, reported: list[str]) -> list[str]:
    """The message's state after each of these reports on its accepted attempt."""
    await post.queue()
    await post.run()
    states = []
    for state in reported:
        await post.report(f"first-1 {state}")
        states.append((await post.row()).state)
    return states


@pytest.mark.parametrize(
    ("reported", "states"),
    [
        ("sent delivered", "sent delivered"),
        ("delivered sent", "delivered delivered"),
        ("delivered delivered failed", "delivered delivered delivered"),
        ("failed delivered", "failed delivered"),
        ("expired delivered", "expired delivered"),
        ("failed sent", "failed failed"),
        ("unknown sent delivered", "unknown unknown delivered"),
    ],
)
async def test_reports_only_move_forward(reported: str, states: str, post: Post) -> None:
    """Doubled, reordered and late reports change nothing; a late success does."""
    assert await delivered_states(post, reported.split()) == states.split()
    await post.later(60)
    assert post.handed_over == (1, 0)


@pytest.mark.parametrize("ours", [False, True], ids=["their id", "our correlator"])
async def test_report_before_the_reply(ours: bool, post: Post) -> None:  # noqa: FBT001 - a case of the table above
    """A report that beats the reply waits for it."""
    meanwhile = []

    async def reported_first(message: Outgoing) -> Outcome:
        await post.report(f"{message.correlator if ours else 'early'} delivered")
        meanwhile.append((await post.row()).state)
        return Accepted("early")

    post.first.answers.append(reported_first)
    await post.queue()
    await post.run()
    assert [*meanwhile, (await post.row()).state] == ["sending", "delivered"]


async def test_report_and_reply_side_by_side(post: Post) -> None:
    """However a report and its reply interleave, the report is not lost."""
    for number in range(25):
        reporting: list[asyncio.Task[None]] = []

        async def race(_message: Outgoing, id_: str = f"x{number}", tasks: list[Any] = reporting) -> Outcome:
            tasks.append(asyncio.create_task(post.report(f"{id_} delivered")))
            for _ in range(int(id_[1:]) % 7):
                await asyncio.sleep(0.0005)
            return Accepted(id_)

        post.first.answers.append(race)
        await post.queue(f"k{number}")
        await post.run()
        await asyncio.gather(*reporting)
        assert (await post.row(f"k{number}")).state == "delivered"


async def test_report_on_a_receipt_that_was_perhaps_taken(post: Post) -> None:
    """A report within the wait spares the next sender; one of failure ends the wait."""
    post.first.answers.extend([Unknown("read timeout")] * 3)
    for key in ("taken", "undeliverable", "no such number"):
        await post.queue(key, words=key)
    await post.run()
    ids = {message.text: message.correlator for message in post.first.sent}
    await post.report(f"{ids['taken']} sent")
    await post.report(f"{ids['undeliverable']} failed unreachable")
    await post.report(f"{ids['no such number']} failed bad_recipient")
    await post.run()
    assert [message.text for message in post.second.sent] == ["undeliverable"]
    await post.later(31)
    assert [message.text for message in post.second.sent] == ["undeliverable"]
    assert [(await post.row(key)).state for key in ids] == ["sent", "queued", "failed"]


@pytest.mark.parametrize("outcome", [Refused(Reason.NO_ROUTE), Throttled(2), Unknown("read timeout")])
@pytest.mark.parametrize(
    ("reported", "state"), [("delivered", "delivered"), ("sent", "sent"), ("failed", None), ("unknown", None)]
)
async def test_report_on_the_first_while_the_second_is_asked(
    outcome: Refused | Exception, reported: str, state: str | None, post: Post
) -> None:
    """A first sender that did deliver decides, whatever the second one answers; that it did not changes nothing."""

    async def meanwhile(_message: Outgoing) -> Outcome:
        await post.report(f"{post.first.sent[0].correlator} {reported}")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    post.first.answers.append(Unknown("read timeout"))
    post.second.answers.append(meanwhile)
    await post.queue(template="code")
    await post.run()
    after = {Refused: "failed", Throttled: "waiting", Unknown: "unknown"}[type(outcome)]
    assert (await post.row()).state == (state or after)


@pytest.mark.parametrize(
    "stray",
    [
        "nobodys delivered",
        "6b0f7d2e-0000-4000-8000-0000000000a1 delivered",
        "first-1 delivered +233240000009",
        "garbage",
    ],
)
async def test_stray_report_is_kept_and_changes_nothing(stray: str, post: Post) -> None:
    """A report that is nobody's, or names another number, is stored as it came."""
    await post.queue()
    await post.run()
    await post.report(stray)
    assert (await post.row()).state == "queued"
    async with post.store.look() as connection:
        [kept] = (await connection.execute(select(reports))).all()
    assert (kept.body, kept.matched_at) == (stray.encode(), None)


async def test_inbound_sms_is_kept(post: Post) -> None:
    """What comes in at the inbound address is stored, and is no report whatever it says."""
    await post.queue()
    await post.run()
    await post.messages.keep_report("first", "inbound", "text/plain", b"first-1 delivered")
    assert (await post.row()).state == "queued"
    async with post.store.look() as connection:
        assert [row.kind for row in await connection.execute(select(reports))] == ["inbound"]


async def test_report_of_another_sender(post: Post) -> None:
    """One provider's id means nothing in another's report."""
    await post.queue()
    await post.run()
    await post.report("first-1 delivered", sender="second")
    await post.report(f"{post.first.sent[0].correlator} delivered", sender="second")
    assert (await post.row()).state == "queued"


async def test_settling_twice_changes_nothing(post: Post) -> None:
    """An outcome committed again is not a second outcome."""
    await post.queue()
    await post.run()
    correlator = post.first.sent[0].correlator
    await post.messages._outcomes.settle(correlator, Refused(Reason.NO_ROUTE))
    await post.messages._outcomes.settle(correlator, Unknown("again"))
    await post.messages._outcomes.settle(correlator, Accepted("again"))
    assert (await post.row()).state == "queued"
    assert await post.attempts() == [("first", "accepted")]
