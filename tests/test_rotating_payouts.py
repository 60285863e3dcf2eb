"""Payouts of a rotating group: the gate, short pots, arrears, who may ask and approve, and how a payout ends."""

from dataclasses import replace
from typing import Any

import pytest
from groups import Circle, circle, phone
from rotating import Susu, cedis, run, running
from sqlalchemy import update

from ussd_app import ledger
from ussd_app.groups import books, contributions, payouts, proposals
from ussd_app.groups.contributions import Booked, Reversed
from ussd_app.groups.model import Refused
from ussd_app.groups.payouts import Asked
from ussd_app.tables import group_rules, subscribers

__all__ = ["circle"]


async def agree(susu: Susu, **rules: Any) -> None:  # noqa: ANN401 - any field of Rules
    """The group has changed its rules."""
    group = await susu.circle.group(susu.group)
    new = replace(group.rules, **rules)
    async with susu.circle.store.work() as connection:
        await connection.execute(update(group_rules).values(rules=new.dump()))


async def four_of_five(circle: Circle, **rules: Any) -> Susu:  # noqa: ANN401 - any field of Rules
    """The first round runs, and all but Efua have paid."""
    susu = await running(circle, **rules)
    for number in range(1, 5):
        await susu.pay(number, 50)
    return susu


async def test_the_gate_names_who_is_missing_and_waits_for_a_rule(circle: Circle) -> None:
    """Before the deadline all must have paid; after it a short pot waits for a rule, and then does what it says."""
    susu = await four_of_five(circle)
    missing = {"missing": ["Efua"]}
    assert await susu.ask() == Refused("not_all_paid", missing)
    await susu.deadline()
    assert await susu.ask() == Refused("no_rule", missing)
    await agree(susu, short="wait")
    assert await susu.ask() == Refused("wait", missing)
    await agree(susu, short="pay")
    asked = await susu.ask()
    assert isinstance(asked, Asked)
    assert (asked.amount, asked.cash, asked.payee, asked.needed) == (cedis(200), cedis(0), "Ama", 2)


async def test_a_late_contribution_goes_to_the_pot_that_was_paid_short(circle: Circle) -> None:
    """It is paid out to the same beneficiary as a supplement; nothing of it gets lost or goes to another."""
    susu = await four_of_five(circle, short="pay")
    await susu.deadline()
    assert (await susu.pay_out()).amount == cedis(200)
    await agree(susu, short="wait")  # which is about pots that have not been paid
    await susu.pay(5, 30)
    supplement = await susu.pay_out()
    assert (supplement.amount, supplement.payee) == (cedis(30), "Ama")
    await susu.pay(5, 70)
    assert await susu.pots() == [20, 50, 0, 0, 0]
    assert [event.amount for event in await circle.events(susu.group, "paid_out")] == [20_000, 3_000]


async def test_a_covered_round_pays_the_fund_back(circle: Circle) -> None:
    """The beneficiary has had it all, so the late contribution fills the fund again, also where it comes in cash."""
    susu = await four_of_five(circle, short="cover", fine=100)
    await give_to_fund(susu, 60)
    await susu.deadline()
    asked = await susu.pay_out()
    assert asked.amount == cedis(250)
    assert (await susu.held())[books.FUND] == cedis(10)
    await susu.pay(5, 20)
    assert isinstance(booked := await susu.cash(5, 30), Booked)
    held = await susu.held()
    assert (held[books.FUND], held["cash:fund"]) == (cedis(30), cedis(30))
    assert (await susu.pots())[0] == (await susu.pots(cash=True))[0] == 0
    assert await contributions.reverse(circle.groups, run(), phone(3), booked.code) == Refused("moved")


async def test_the_fund_covers_nobody_twice_and_no_beneficiary(circle: Circle) -> None:
    """After a payout that failed the pot is as full as it was; what the beneficiary has not paid stays unpaid."""
    susu = await running(circle, short="cover")
    for number in (2, 3, 4):
        await susu.pay(number, 50)
    await give_to_fund(susu, 200)
    await susu.deadline()
    for how in ("failed", "done"):
        asked = await susu.ask(2)
        assert isinstance(asked, Asked)
        assert asked.amount == cedis(200)
        await susu.approve(asked)
        await susu.end(asked, how)
    assert (await susu.held())[books.FUND] == cedis(150)
    proposal = await susu.proposal(asked)
    async with circle.store.work() as connection:
        await payouts.paid(circle.groups, connection, proposal.id)
    assert len(await circle.events(susu.group, "paid_out")) == 1


async def test_an_entry_cannot_be_reversed_out_of_what_others_paid_since(circle: Circle) -> None:
    """Its own money was paid out, or has gone to the fund: the cash that lies in the pot now is another's."""
    susu = await running(circle, short="cover")
    for number in (1, 2):
        await susu.pay(number, 50)
    paid_out = await susu.cash(3, 50)
    await give_to_fund(susu, 50)
    await susu.deadline()
    assert (await susu.pay_out()).amount == cedis(150)
    to_fund, to_pot = await susu.cash(4, 50), await susu.cash(5, 50)
    assert (await susu.pots(cash=True))[0] == 50
    for booked, said in ((paid_out, Refused), (to_fund, Refused), (to_pot, Reversed)):
        assert isinstance(booked, Booked)
        assert isinstance(await contributions.reverse(circle.groups, run(), phone(3), booked.code), said)


async def give_to_fund(susu: Susu, amount: int) -> None:
    """Money from before."""
    fund, now = books.account(susu.group.id, books.FUND), susu.circle.clock.now()
    async with susu.circle.store.work() as connection:
        await ledger.move(connection, "float:x", fund, cedis(amount), order=None, reason="gift", at=now)


@pytest.mark.parametrize(
    ("rule", "order", "told", "payee", "amount", "pots"),
    [
        ("skip", [1, 3, 4, 5, 2], "skipped", "Esi", 200, [0, 0]),
        ("swap", [1, 3, 2, 4, 5], "swapped", "Esi", 200, [0, 0]),
        ("net", [1, 2, 3, 4, 5], "contribution", "Kofi", 150, [50, 0]),
    ],
)
async def test_a_beneficiary_in_arrears(
    circle: Circle, rule: str, order: list[int], told: str, payee: str, amount: int, pots: list[int]
) -> None:
    """By the rule their turn goes to the end, or to the next who owes nothing, or they are paid what is left."""
    susu = await running(circle, short="pay", arrears=rule)
    for _ in range(2):
        for number in (1, 3, 4, 5):
            await susu.pay(number, 50)
        await susu.deadline()
    assert (await susu.pay_out()).payee == "Ama"
    asked = await susu.ask()
    assert isinstance(asked, Asked)
    assert (asked.payee, asked.amount, await susu.order()) == (payee, cedis(amount), order)
    assert await susu.approve(asked) is None
    await susu.end(asked, "done")
    assert (await susu.pots())[:2] == pots
    event = (await circle.events(susu.group, told))[-1]
    assert event.member == (await circle.member(susu.group, 2)).id
    assert event.details["rounds"] == {"skip": [2, 5], "swap": [2, 3], "net": [1]}[rule]
    if rule == "net":
        assert (await susu.pay_out()).payee == "Ama"  # what she was owed, in a supplement


async def test_a_pot_that_all_goes_to_earlier_rounds_needs_no_approval(circle: Circle) -> None:
    """No money leaves the group: what the beneficiary owes is paid from it, and their turn is over."""
    susu = await four_of_five(circle, short="pay")
    assert await susu.swap(2, 5)
    await susu.deadline()
    await susu.pay_out()
    assert isinstance(await susu.cash(1, 50), Booked)
    await susu.deadline()
    assert await susu.ask() == Refused("netted", {"amount": cedis(50)})
    assert [turn.state for turn in await susu.rounds()][:3] == ["paid", "paid", "open"]
    supplement = await susu.pay_out()
    assert (supplement.payee, supplement.amount, supplement.cash) == ("Ama", cedis(0), cedis(50))


async def test_who_may_ask_and_that_once(circle: Circle) -> None:
    """Officers and the beneficiary; one request for a round at a time, and a run asks once."""
    susu = await running(circle)
    await susu.all_pay()
    assert await susu.ask(4) == Refused("not_entitled")
    assert await susu.ask(9) == Refused("not_member")
    once, ask, group = run(), payouts.ask, susu.group.id
    first = await ask(circle.groups, once, phone(3), group)
    assert await ask(circle.groups, once, phone(3), group) == first
    assert isinstance(first, Asked)
    assert await susu.ask(1) == Refused("already_asked", {"code": first.code})
    assert await susu.approve(first) is None
    assert await susu.ask(1) == Refused("already_asked", {})
    await susu.end(first, "failed")
    again = await susu.ask(1)
    assert isinstance(again, Asked)
    assert again.code != first.code
    await susu.approve(again)
    await susu.end(again, "done")
    assert await susu.ask(1) == Refused("nothing")


async def test_wallet_and_cash_are_paid_each_from_its_own(circle: Circle) -> None:
    """The wallet gets the wallet money, the treasurer hands over the cash, and the box is empty afterwards."""
    susu = await running(circle)
    for number in (1, 2, 3):
        await susu.pay(number, 50)
    for number in (4, 5):
        assert isinstance(await susu.cash(number, 50), Booked)
    paid = await susu.pay_out()
    assert (paid.amount, paid.cash) == (cedis(150), cedis(100))
    assert await susu.held() == {}
    event = (await circle.events(susu.group, "paid_out"))[-1]
    assert (event.amount, event.details["cash"]) == (25_000, 10_000)


async def test_cash_taken_back_after_the_asking_is_not_paid(circle: Circle) -> None:
    """What was approved is no longer there: nothing moves, and it can be asked for again."""
    susu = await running(circle, short="pay")
    booked = await susu.cash(4, 50)
    assert isinstance(booked, Booked)
    await susu.deadline()
    asked = await susu.ask()
    back = contributions.reverse
    assert isinstance(await back(circle.groups, run(), phone(3), booked.code), Reversed)
    assert await susu.approve(asked) == Refused("short")
    assert [event.details["reason"] for event in await circle.events(susu.group, "payout_failed")] == ["short"]
    await susu.pay(4, 50)
    assert (await susu.pay_out()).amount == cedis(50)


async def test_cash_on_its_way_out_cannot_be_taken_back(circle: Circle) -> None:
    """Between the approval and the operator's word, and afterwards, the entry stands."""
    susu = await running(circle)
    booked = await susu.cash(1, 50)
    assert isinstance(booked, Booked)
    for number in range(2, 6):
        await susu.pay(number, 50)
    asked = await susu.ask()
    await susu.approve(asked)
    for _ in range(2):
        assert await contributions.reverse(circle.groups, run(), phone(3), booked.code) == Refused("moved")
        if susu.sent:
            await susu.end(asked, "done")
            susu.sent.clear()


async def test_a_failed_payout_leaves_the_pot_whole_and_a_late_one_is_paid(circle: Circle) -> None:
    """It is told as failed, then as paid after all; the round is paid once, and the cycle goes on."""
    susu = await running(circle)
    await susu.all_pay()
    asked = await susu.ask()
    await susu.approve(asked)
    await susu.end(asked, "failed")
    assert (await susu.pots())[0] == 250
    await susu.end(asked, "late")
    assert await susu.held() == {}
    assert (await susu.rounds())[0].state == "paid"
    kinds = await circle.kinds(susu.group)
    assert kinds[-2:] == ["payout_failed", "paid_out"]


async def test_a_late_payout_after_another_was_made_costs_the_group_nothing(circle: Circle) -> None:
    """The second one emptied the pot: the first is owed to us, and the group's books and events do not change."""
    susu = await running(circle)
    await susu.all_pay()
    first = await susu.ask()
    await susu.approve(first)
    await susu.end(first, "failed")
    await susu.pay_out()
    await susu.end(first, "late")
    assert await susu.held() == {}
    assert len(await circle.events(susu.group, "paid_out")) == 1
    async with circle.store.look() as connection:
        assert (await ledger.sums(connection, ledger.RECEIVABLE, "GHS")).debits_posted == 25_000


async def test_a_late_payout_to_whom_the_turn_has_left_brings_it_back(circle: Circle) -> None:
    """Ama and Kofi had swapped since it failed; Ama got the pot after all, so that Kofi has the turn she had got."""
    susu = await running(circle)
    await susu.all_pay()
    asked = await susu.ask()
    await susu.approve(asked)
    await susu.end(asked, "failed")
    assert await susu.swap(1, 2)
    await susu.end(asked, "late")
    assert await susu.order() == [1, 2, 3, 4, 5]
    assert [turn.state for turn in await susu.rounds()][:2] == ["paid", "planned"]


async def test_an_officer_who_is_paid_does_not_approve(circle: Circle) -> None:
    """The chair is the beneficiary and asks: the other two officers decide, and one rejection closes it."""
    susu = await running(circle)
    await susu.all_pay()
    asked = await susu.ask(1)
    assert isinstance(asked, Asked)
    assert await susu.voters(asked) == (2, 3)
    async with circle.store.work() as connection:
        for number, approves, said in ((1, True, type(None)), (4, True, type(None)), (2, False, proposals.Rejected)):
            voted = await proposals.vote(
                circle.groups, connection, phone(number), asked.code, approves=approves, sim="trusted"
            )
            assert isinstance(voted, said)
    assert isinstance(await susu.ask(1), Asked)


async def test_no_money_moves_at_the_word_of_a_new_sim_or_to_one(circle: Circle) -> None:
    """Neither who asks nor who is paid may have a SIM or a number of less than a day."""
    susu = await running(circle)
    await susu.all_pay()
    await sim_changed(susu, 3)
    assert await susu.ask(3) == Refused("sim_changed", {"name": "Esi"})
    await sim_changed(susu, 1)
    assert await susu.ask(2) == Refused("sim_changed", {"name": "Ama"})
    circle.clock.advance(24 * 3600)
    now = circle.clock.now()
    ama = await circle.change(susu.group, 1, trusted_from=now.replace(year=2032))
    assert await susu.ask(2) == Refused("cooling", {"name": "Ama", "until": ama.trusted_from})


async def sim_changed(susu: Susu, number: int) -> None:
    """This person's SIM is another one since now."""
    own, now = subscribers.c.msisdn == phone(number), susu.circle.clock.now()
    async with susu.circle.store.work() as connection:
        await connection.execute(update(subscribers).where(own).values(sim_changed_at=now))
