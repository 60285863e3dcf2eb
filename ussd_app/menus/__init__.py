"""Menus as content: read from TOML and gettext files, proved, and compiled for conversation.py."""

from ussd_app.menus.check import check, missing
from ussd_app.menus.draw import draw
from ussd_app.menus.faults import Fault, MenuFaults
from ussd_app.menus.load import load
from ussd_app.menus.model import (
    Action,
    Ask,
    Choose,
    Do,
    End,
    Flow,
    Limits,
    Menus,
    Option,
    Options,
    Screen,
    SmsTemplate,
    Texts,
)
from ussd_app.menus.watch import watch
from ussd_app.menus.words import WORDS

__all__ = [
    "WORDS",
    "Action",
    "Ask",
    "Choose",
    "Do",
    "End",
    "Fault",
    "Flow",
    "Limits",
    "MenuFaults",
    "Menus",
    "Option",
    "Options",
    "Screen",
    "SmsTemplate",
    "Texts",
    "check",
    "draw",
    "load",
    "missing",
    "watch",
]
