"""What is told of money in a group one is no member of any more, and who hands over what of it is cash."""

from groups import circle, phone  # noqa: F401 - a fixture
from post import Post, post, running, wording
from sqlalchemy import update

from ussd_app.money import Money
from ussd_app.tables import memberships, subscribers

__all__ = ["post", "wording"]

CODE = "48215037"


async def test_whoever_is_removed_is_told_what_is_theirs_and_how_to_take_it(post: Post) -> None:
    """In the language they read; the others are told that somebody has gone."""
    post.at(10)
    group = await running(post)
    yaw = await post.circle.change(group, 4, state="suspended")
    event = await post.happened(group, "removed", member=yaw.id, kept=9_500)
    assert await post.text(4, event) == (
        "ADEHYE has ended your membership. GHS 95.00 in it is yours: dial *920*55# to take it."
    )
    assert (await post.told(event))[2] == "member_removed"
    async with post.circle.store.work() as connection:
        await connection.execute(update(subscribers).where(subscribers.c.msisdn == phone(4)).values(language="fr"))
    event = await post.happened(group, "removed", member=yaw.id, kept=9_500)
    assert (await post.text(4, event)).endswith("GHS 95,00 y sont à vous : composez *920*55# pour les prendre.")
    event = await post.happened(group, "removed", member=yaw.id, kept=0)
    assert (await post.told(event))[4] == "group_removed"


async def test_cash_of_ones_own_is_asked_of_whoever_keeps_the_box(post: Post) -> None:
    """Its owner is told whom to ask, the treasurer to hand it over; the chair where there is none."""
    post.at(10)
    group = await running(post)
    yaw = await post.circle.change(group, 4, state="left")
    given = {"member": yaw.id, "amount": Money.of(15, "GHS").minor, "code": CODE, "source": "cash"}
    event = await post.happened(group, "taken_back", **given)
    assert await post.told(event) == {3: "own_cash_due", 4: "own_cash"}
    assert (await post.text(4, event)).startswith("GHS 15.00 of your own from ADEHYE is yours in cash: ask Esi for it.")
    assert await post.text(3, event) == (f"ADEHYE: please hand GHS 15.00 in cash to Yaw: it is their own. Ref {CODE}")
    async with post.circle.store.work() as connection:
        await connection.execute(update(memberships).where(memberships.c.role == "treasurer").values(role="member"))
    event = await post.happened(group, "taken_back", **given | {"code": "48215045"})
    assert await post.told(event) == {1: "own_cash_due", 4: "own_cash"}


async def test_who_keeps_the_box_hands_nothing_over_to_themselves(post: Post) -> None:
    """They are told what they took, and wallet money is nobody's to hand over."""
    post.at(10)
    group = await running(post)
    esi, yaw = [await post.circle.member(group, number) for number in (3, 4)]
    event = await post.happened(group, "taken_back", member=esi.id, amount=1_500, code=CODE, source="cash")
    assert await post.told(event) == {3: "own_taken_back"}
    event = await post.happened(group, "taken_back", member=yaw.id, amount=1_500, code="48215045", source="wallet")
    assert await post.told(event) == {3: "own_taken_back_seen", 4: "own_taken_back"}
