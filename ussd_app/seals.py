"""Encryption at rest: what must be kept and later told to its owner, sealed under SECRET_KEYS (design.md law 22)."""

import base64
import hmac
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr


class Unreadable(Exception):
    """What was sealed is damaged, or its key is no longer among SECRET_KEYS."""


class Seals:
    """Seals with the newest of the secret keys, bound to one purpose, and opens with any; newest first."""

    def __init__(self, secret_keys: Sequence[SecretStr], purpose: str) -> None:
        secrets = (key.get_secret_value().encode() for key in secret_keys)
        self._keys = tuple(hmac.digest(secret, purpose.encode(), "sha256") for secret in secrets)
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in self._keys])

    def seal(self, text: str) -> bytes:
        """The text, encrypted and signed; never twice the same bytes."""
        return self._fernet.encrypt(text.encode())

    def unseal(self, sealed: bytes) -> str:
        """The text again; raises Unreadable."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise Unreadable from None

    def digests(self, text: str) -> tuple[bytes, ...]:
        """Keyed hashes by which the text is found again without being told: one for each key, newest first."""
        return tuple(hmac.digest(key, text.encode(), "sha256") for key in self._keys)
