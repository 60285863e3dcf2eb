"""The application's RSA key: what is signed and sealed with it (wire/momo.md section 2.2)."""

import base64
import re
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as schemes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ussd_app.sandbox.credentials import WRONG

BITS = 2048
OAEP_HASHES = (hashes.SHA1(), hashes.SHA256())  # noqa: S303 - which of the two is not documented, and nothing rests on it
PIN = re.compile(rb"[0-9]{4,8}|[a-z0-9-]*" + WRONG.encode() + rb"[a-z0-9-]*")
WRONG_PIN = b"0000"


@cache
def _private() -> rsa.RSAPrivateKey:
    """Made when first needed, one for the process: making it takes a while."""
    return rsa.generate_private_key(65537, BITS)


def public_key() -> str:
    """Base64 of its DER SubjectPublicKeyInfo."""
    der = _private().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def signed(body: bytes, signature: str, key: str) -> bool:
    """Whether ``x-signature`` is the body under the key and vector that ``x-key`` holds."""
    secret, _, vector = _opened(key, "pkcs1", re.compile(rb"[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+")).partition(b":")
    try:
        cipher = Cipher(algorithms.AES256(base64.b64decode(secret)), modes.CBC(base64.b64decode(vector))).encryptor()
    except ValueError:
        return False
    padder = PKCS7(algorithms.AES256.block_size).padder()
    padded = padder.update(body) + padder.finalize()
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode() == signature


def pin_fault(sealed: str, padding: str) -> str | None:
    """The code that refuses a PIN: badly encrypted, or wrong; None where it is right."""
    pin = _opened(sealed, padding, PIN)
    if not pin:
        return "ROUTER116"
    return "ROUTER115" if pin == WRONG_PIN or WRONG.encode() in pin else None


def _opened(sealed: str, padding: str, expected: re.Pattern[bytes]) -> bytes:
    """What was sealed; empty where it does not look as expected.

    PKCS1 v1.5 knows no failure: what was sealed otherwise is opened to noise.
    """
    ways: list[schemes.AsymmetricPadding] = [schemes.PKCS1v15()]
    if padding == "oaep":
        ways = [schemes.OAEP(schemes.MGF1(algorithm), algorithm, label=None) for algorithm in OAEP_HASHES]
    for way in ways:
        try:
            plain = _private().decrypt(base64.b64decode(sealed, validate=True), way)
        except ValueError:
            continue
        if expected.fullmatch(plain):
            return plain
    return b""
