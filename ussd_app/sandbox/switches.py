"""Switches: where documents, measurements and wishes differ, the sandbox can be either, and change while it runs."""

from typing import Any

from pydantic_settings import SettingsConfigDict

from ussd_app.config import Environment


class Switches(Environment):
    """Base of every set of switches: read from the environment at the start, changed through the control API."""

    model_config = SettingsConfigDict(frozen=False, validate_assignment=True)

    def change(self, values: dict[str, Any]) -> None:
        """Set some of them; raises ValueError (pydantic's too) for a name or value that does not exist."""
        unknown = values.keys() - type(self).model_fields.keys()
        if unknown:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        for name, value in values.items():
            setattr(self, name, value)
