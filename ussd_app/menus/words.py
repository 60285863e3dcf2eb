"""The sentences the framework itself says: ``[words]`` of main.toml must hold exactly these."""

# Shown above the same screen after a wrong answer: ``wrong_<type>`` of an ask, wrong_option of a menu or list.
REASONS = (
    "wrong_option",
    "wrong_msisdn",
    "wrong_amount",
    "wrong_pin",
    "wrong_text",
    "wrong_number",
    "wrong_date",
    "wrong_code",
)

# What the framework's own keys do.
HINTS = ("back", "home", "more")

# A reply of their own, any of which may be the first of a session.
SCREENS = ("too_many", "busy", "we_will_sms", "not_done", "ended", "lost", "failed", "no_number")

# The question after a drop, and its two answers.
RESUME = ("resume_ask", "resume_continue", "resume_restart")

# What a language calls itself, in the list to choose from.
NAMES = ("language_name",)

# How an open payment stands, behind its line in a list.
STATES = ("now_waiting", "now_delivering", "now_coming", "now_refunding", "now_unclear")

WORDS = frozenset((*REASONS, *HINTS, *SCREENS, *RESUME, *NAMES, *STATES))
