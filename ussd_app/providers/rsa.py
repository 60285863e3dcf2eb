"""What an operator wants sealed with its public RSA key: PINs, passwords of its API, keys of a signature."""

import base64
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as schemes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

Padding = Literal["pkcs1", "oaep"]

CERTIFICATE = "-----BEGIN CERTIFICATE-----"
PEM = "-----BEGIN "

SHA1 = hashes.SHA1()  # noqa: S303 - what Java's RSA/ECB/OAEPPadding means where it names no hash; no collision matters in it


def public_key(text: str) -> RSAPublicKey:
    """A key out of a PEM public key, a PEM X.509 certificate or the base64 of a DER SubjectPublicKeyInfo.

    A line may end with a backslash and an n, as in a file of variables. Raises ValueError where it is none of these,
    or no RSA key.
    """
    try:
        key = _read(text.strip().replace("\\n", "\n"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("is no public key") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("is no RSA key")  # noqa: TRY004 - of a text that a person pasted, not of a type
    return key


def encrypt(key: RSAPublicKey, plaintext: bytes, padding: Padding = "pkcs1") -> str:
    """The base64 of what only the key's owner can read; raises ValueError where it is too long for the key."""
    oaep = schemes.OAEP(schemes.MGF1(SHA1), SHA1, label=None)
    return base64.b64encode(key.encrypt(plaintext, schemes.PKCS1v15() if padding == "pkcs1" else oaep)).decode()


def signature(key: RSAPublicKey, body: bytes, secret: bytes, vector: bytes) -> tuple[str, str]:
    """What proves a body, and what opens the proof: Airtel's ``x-signature`` and ``x-key`` (wire/momo.md section 2.2).

    ``secret`` are 32 bytes and ``vector`` 16, of no other call.
    """
    padder = PKCS7(algorithms.AES256.block_size).padder()
    cipher = Cipher(algorithms.AES256(secret), modes.CBC(vector)).encryptor()
    proof = cipher.update(padder.update(body) + padder.finalize()) + cipher.finalize()
    opening = b":".join(base64.b64encode(part) for part in (secret, vector))
    return base64.b64encode(proof).decode(), encrypt(key, opening)


def _read(text: str) -> object:
    if text.startswith(CERTIFICATE):
        return x509.load_pem_x509_certificate(text.encode()).public_key()
    if text.startswith(PEM):
        return serialization.load_pem_public_key(text.encode())
    return serialization.load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
