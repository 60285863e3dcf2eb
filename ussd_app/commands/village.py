"""Three people with a savings group to play with, for `ussd-app demo`."""

from collections.abc import Sequence

from ussd_app.app import Application
from ussd_app.groups import cycles, founding, invites, members
from ussd_app.groups.founding import Created
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn, parse

PIN = "2580"
GROUP = "ADEHYE SUSU"
PEOPLE = ("Ama", "Kofi", "Esi", "Yaw", "Efua")  # the first three have their handsets in the demo
OFFICES = {2: "secretary", 3: "treasurer"}  # by member number; the first chairs
RUN = "village"


async def settle(application: Application, numbers: Sequence[str], share: Money) -> None:
    """Register five people and let them save together; a village that stands already stays as it is."""
    people = [parse(number, application.settings.country) for number in numbers]
    for msisdn, name in zip(people, PEOPLE, strict=True):
        await application.subscribers.register(msisdn, name, "en")
        await application.subscribers.set_pin(msisdn, PIN, checked=False)
    created = await founding.create(application.groups, RUN, people[0], "rotating", GROUP, share, "weekly")
    if isinstance(created, Created) and created.code:
        await _gather(application, created, people)


async def _gather(application: Application, created: Created, people: list[Msisdn]) -> None:
    groups, code = application.groups, created.code or ""
    for msisdn, name in zip(people[1:], PEOPLE[1:], strict=True):
        await invites.join(groups, msisdn, name, code)
    for number, role in OFFICES.items():
        await members.appoint(groups, people[0], created.group_id, number, role)
    await cycles.start(groups, RUN, people[0], created.group_id)
