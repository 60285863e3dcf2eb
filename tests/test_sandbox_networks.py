"""Which network a handset of the sandbox is on, and what MTN's half makes of those that are on others."""

import pytest
from conftest import FakeClock
from sandbox import Momo, World, reference

MTN, TELECEL = "233240000001", "233200000001"
ONE, TWO, THREE = reference(1), reference(2), reference(3)


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A sandbox of Ghana."""
    return World(clock)


@pytest.mark.parametrize(
    ("msisdn", "names", "on"),
    [
        (MTN, ("MTN",), True),
        (TELECEL, ("MTN",), False),
        ("256700000001", ("Airtel",), True),
        ("254700000001", ("Airtel", "Safaricom"), True),
        ("237670000001", ("MTN Cameroon",), True),
        ("233000000000", ("MTN",), False),  # nobody's range
    ],
)
def test_a_range_has_a_network(world: World, msisdn: str, names: tuple[str, ...], on: bool) -> None:  # noqa: FBT001 - a row's column
    """As the carrier table has it, whatever the sandbox's country."""
    country = world.sandbox.country
    assert country.on_network(country.handset(msisdn), *names) is on


async def test_a_number_may_be_taken_along(world: World) -> None:
    """A handset's own network goes before its range's, until it is set back."""
    assert (await world.control("GET", f"/handsets/{TELECEL}"))["network"] is None
    momo = Momo(world)
    active = f"/collection/v1_0/accountholder/msisdn/{TELECEL}/active"
    for network, result in (("MTN", True), (None, False)):
        shown = await world.control("PUT", f"/handsets/{TELECEL}", {"network": network})
        assert shown["network"] == network
        assert (await momo.call("GET", active)).json() == {"result": result}


async def test_mtn_knows_its_own_numbers_alone(world: World) -> None:
    """Nobody of another network pays, is paid or has a name there; who left MTN is as unknown."""
    momo = Momo(world)
    await world.control("PUT", f"/handsets/{MTN}", {"network": "Telecel"})
    for msisdn, paid, got in ((TELECEL, ONE, TWO), (MTN, THREE, reference(4))):
        await momo.pay_in(paid, msisdn)
        await momo.pay_out(got, msisdn)
        assert await momo.collected(paid) == ("FAILED", "PAYER_NOT_FOUND")
        assert await momo.disbursed(got) == ("FAILED", "PAYEE_NOT_FOUND")
        name = await momo.call("GET", f"/collection/v1_0/accountholder/msisdn/{msisdn}/basicuserinfo")
        assert name.status_code == 404


async def test_mtns_own_sandbox_asks_no_network(world: World) -> None:
    """In its target environment any number is served."""
    momo = Momo(world, "sandbox")
    await momo.pay_out(ONE, TELECEL)
    assert await momo.disbursed(ONE) == ("SUCCESSFUL", None)
    active = await momo.call("GET", f"/collection/v1_0/accountholder/msisdn/{TELECEL}/active")
    assert active.json() == {"result": True}
