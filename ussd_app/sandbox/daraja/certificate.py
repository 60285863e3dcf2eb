"""The environment's certificate, with which callers encrypt an initiator's password, and the key behind it.

The pair is made once in a process, or read from ``SANDBOX_DARAJA_PRIVATE_KEY``, so that a process that is told where
to find a sandbox in another one is told the pair too.
"""

from base64 import b64decode
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from ussd_app.config import Environment, SettingsError, load

KEY_BITS = 2048


class Given(Environment):
    """The pair, where one was given."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_DARAJA_")

    private_key: SecretStr | None = None  # PEM, PKCS #8


def certificate() -> str:
    """The X.509 certificate, self-signed, as PEM; nobody looks at its dates."""
    key = _pair()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox.example.org")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    dated = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
    return dated.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def private_key() -> str:
    """The key behind it, as PEM."""
    return _pair().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def opened(credential: str) -> str | None:
    """The password in a SecurityCredential; None where it holds none that was encrypted for us."""
    try:
        return _pair().decrypt(b64decode(credential, validate=True), PKCS1v15()).decode()
    except ValueError:
        return None


def _pair() -> RSAPrivateKey:
    given = load(Given).private_key
    return _read(given.get_secret_value()) if given else _made()


@cache
def _made() -> RSAPrivateKey:
    return generate_private_key(65537, KEY_BITS)


@cache
def _read(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError("SANDBOX_DARAJA_PRIVATE_KEY is no RSA private key in PEM without a password")
    return key
