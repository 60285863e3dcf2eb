"""Turns: swapped, given by need, and what becomes of those of a member who leaves or dies."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from groups import Circle, circle, phone
from rotating import cedis, run, running
from sqlalchemy import insert

from ussd_app.groups import books, departures, rotation
from ussd_app.groups.departures import Left
from ussd_app.groups.model import Refused
from ussd_app.groups.payouts import Asked
from ussd_app.groups.rotation import Chosen
from ussd_app.tables import memberships

__all__ = ["circle"]


async def test_turns_are_swapped_until_the_pot_is_on_its_way(circle: Circle) -> None:
    """Nobody gets two turns, and none is changed once its payout has been agreed to or made."""
    susu = await running(circle)
    assert await susu.swap(2, 4)
    assert await susu.order() == [1, 4, 3, 2, 5]
    await susu.all_pay()
    asked = await susu.ask()
    await susu.approve(asked)
    assert not await susu.swap(1, 3)
    await susu.end(asked, "done")
    assert not await susu.swap(3, 1)
    assert not await susu.swap(3, 3)
    assert await susu.order() == [1, 4, 3, 2, 5]
    assert (await circle.events(susu.group, "swapped"))[0].details["rounds"] == [2, 4]


async def test_a_payout_asked_for_is_not_paid_to_whoever_has_swapped_since(circle: Circle) -> None:
    """The turn has moved: what was approved is not carried out, and the pot is the new beneficiary's."""
    susu = await running(circle)
    await susu.all_pay()
    asked = await susu.ask()
    assert await susu.swap(1, 5)
    assert await susu.approve(asked) == Refused("turn_moved")
    assert (await susu.pay_out()).payee == "Efua"


async def test_a_leaver_loses_their_turn_and_what_they_paid_stays(circle: Circle) -> None:
    """Everybody after them comes one round earlier, the last round falls away, and four members pay from then on."""
    susu = await running(circle)
    await susu.all_pay()
    assert isinstance(await departures.leave(circle.groups, phone(3), susu.group.id), Left)
    assert await susu.order() == [1, 2, 4, 5]
    assert (await susu.pots())[0] == 250
    assert (await susu.pay_out()).amount == cedis(250)
    for _ in range(3):
        await susu.deadline()
        await susu.all_pay()
        assert (await susu.pay_out()).amount == cedis(200)
    assert (await circle.group(susu.group)).state == "forming"


async def test_whoever_has_had_the_pot_and_leaves_still_owes(circle: Circle) -> None:
    """No turn falls away, the later pots are paid by the others, and the event says what is owed."""
    susu = await running(circle)
    await susu.all_pay()
    await susu.pay_out()
    left = await departures.leave(circle.groups, phone(1), susu.group.id)
    assert left == Left(cedis(200))
    assert await susu.order() == [1, 2, 3, 4, 5]
    await susu.deadline()
    for number in range(2, 6):
        await susu.pay(number, 50)
    assert (await susu.pay_out(2)).amount == cedis(200)


async def test_a_turn_whose_pot_is_being_filled_stays_where_no_other_is_left(circle: Circle) -> None:
    """The last round is open: the pot is the dead member's, and goes to the number that their heirs have."""
    susu = await running(circle)
    for _ in range(4):
        await susu.all_pay()
        await susu.pay_out()
        await susu.deadline()
    await susu.all_pay()
    await susu.remove(5)
    assert await susu.order() == [1, 2, 3, 4, 5]
    paid = await susu.pay_out()
    assert (paid.payee, paid.amount) == ("Efua", cedis(250))


async def test_the_turn_of_a_dead_beneficiary_goes_to_the_next(circle: Circle) -> None:
    """Also where their round is the open one; what has been asked for them is not paid."""
    susu = await running(circle, 6)
    await susu.all_pay()
    asked = await susu.ask(2)
    await susu.remove(1)
    assert await susu.order() == [2, 3, 4, 5, 6]
    assert await susu.approve(asked) == Refused("turn_moved")
    assert (await susu.pay_out(3)).payee == "Kofi"


async def test_by_need_an_officer_names_who_gets_the_open_pot(circle: Circle) -> None:
    """Nobody twice, nobody from outside, and no payout before; a leaver's turn is one round less."""
    susu = await running(circle, order="need")
    choose, group = rotation.choose_beneficiary, susu.group.id
    assert await susu.order() == [0, 0, 0, 0, 0]
    await susu.all_pay()
    assert await susu.ask() == Refused("undecided")
    assert await choose(circle.groups, run(), phone(4), group, 4) == Refused("not_officer")
    assert await choose(circle.groups, run(), phone(2), group, 17) == Refused("nobody")
    once, yaw = run(), await circle.member(susu.group, 4)
    for _ in range(2):
        assert await choose(circle.groups, once, phone(2), group, 4) == Chosen(1, yaw)
    assert await choose(circle.groups, run(), phone(2), group, 5) == Refused("decided")
    assert (await susu.pay_out()).payee == "Yaw"
    await susu.deadline()
    assert await choose(circle.groups, run(), phone(2), group, 4) == Refused("had_turn", {"name": "Yaw"})
    await susu.remove(5)
    assert await susu.order() == [4, 0, 0, 0]


async def test_whoever_joins_while_a_cycle_runs_waits_for_the_next(circle: Circle) -> None:
    """They owe no round, and no pot can be given to them; what they pay all the same is an advance."""
    susu = await running(circle, order="need")
    async with circle.store.work() as connection:
        now = circle.clock.now() + timedelta(hours=1)
        values: dict[str, Any] = {
            "id": uuid4(),
            "group_id": susu.group.id,
            "number": 6,
            "msisdn": phone(6),
            "name": "Kojo",
        }
        more = {"role": "member", "state": "active", "joined_at": now, "trusted_from": now}
        await connection.execute(insert(memberships).values(**values, **more))
    await susu.deadline()
    await susu.pay(6, 50)
    assert await susu.pots() == [0, 0, 0, 0, 0]
    assert (await susu.held())[books.member_part(values["id"])] == cedis(50)
    said = await rotation.choose_beneficiary(circle.groups, run(), phone(2), susu.group.id, 6)
    assert said == Refused("nobody")


async def test_a_beneficiary_asks_for_their_own_pot_even_while_an_older_one_waits(circle: Circle) -> None:
    """The first round's payout waits for its approvals; the second beneficiary need not, and the third may not ask."""
    susu = await running(circle)
    await susu.all_pay()
    await susu.deadline()
    await susu.all_pay()
    first = await susu.ask()
    assert await susu.ask(4) == Refused("not_entitled")
    second = await susu.ask(2)
    assert isinstance(first, Asked)
    assert isinstance(second, Asked)
    assert (first.payee, second.payee) == ("Ama", "Kofi")
