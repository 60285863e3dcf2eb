import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ussd_app.providers.rsa import Padding, encrypt, public_key, signature

OWNER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = OWNER.public_key()
DER = PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
ELLIPTIC = ec.generate_private_key(ec.SECP256R1()).public_key()
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)  # noqa: S303 - as the client does
SCHEMES: dict[Padding, padding.AsymmetricPadding] = {"pkcs1": padding.PKCS1v15(), "oaep": OAEP}


def certificate() -> str:
    """The owner's key as a certificate that it signed itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator.example.org")])
    builder = x509.CertificateBuilder(name, name, PUBLIC, x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2027, 1, 1, tzinfo=UTC)
    )
    return builder.sign(OWNER, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        f"\n  {PEM}\n",
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode(),
        certificate(),
        base64.b64encode(DER).decode(),
        base64.encodebytes(DER).decode(),
    ],
    ids=["PEM", "PEM with blanks", "PEM of PKCS1", "certificate", "base64", "base64 in lines"],
)
def test_a_key_is_read_as_operators_hand_it_out(text: str) -> None:
    """In each of its spellings it is the same key."""
    assert public_key(text).public_numbers() == PUBLIC.public_numbers()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no key",
        "é",
        "AAAA",
        base64.b64encode(DER[:-9]).decode(),
        base64.b64encode(DER).decode() + "*",
        PEM[:90],
        certificate()[:300],
        ELLIPTIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        base64.b64encode(ELLIPTIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode(),
    ],
    ids=lambda text: f"{len(text)} characters",  # the keys are new in every process
)
def test_anything_else_is_no_key(text: str) -> None:
    """It is one kind of error, whatever is wrong."""
    with pytest.raises(ValueError, match=r"^is no (public|RSA) key$"):
        public_key(text)


@pytest.mark.parametrize("scheme", ["pkcs1", "oaep"])
def test_only_the_owner_reads_what_was_encrypted(scheme: Padding) -> None:
    """The plaintext comes back under its own padding, and no two texts are alike."""
    sealed = [encrypt(PUBLIC, b"1234", scheme) for _ in range(2)]
    assert [OWNER.decrypt(base64.b64decode(text, validate=True), SCHEMES[scheme]) for text in sealed] == [b"1234"] * 2
    assert sealed[0] != sealed[1]


def test_the_padding_is_that_of_most_operators_where_none_is_named() -> None:
    """PKCS1 version 1.5."""
    assert OWNER.decrypt(base64.b64decode(encrypt(PUBLIC, b"1234")), SCHEMES["pkcs1"]) == b"1234"


@pytest.mark.parametrize("scheme", ["pkcs1", "oaep"])
def test_a_text_too_long_for_the_key_is_refused(scheme: Padding) -> None:
    """It is not cut."""
    with pytest.raises(ValueError, match=r"."):
        encrypt(PUBLIC, b"1" * 256, scheme)


def test_a_signature_is_the_documented_one() -> None:
    """The vector of wire/momo.md section 2.2."""
    proof, opening = signature(PUBLIC, b'{"a":1}', bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff"))
    assert proof == "lyFLXdDjm/5lawEe6hSgpg=="
    plain = OWNER.decrypt(base64.b64decode(opening, validate=True), SCHEMES["pkcs1"])
    assert plain == b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:ABEiM0RVZneImaq7zN3u/w=="


def test_an_old_key_will_do() -> None:
    """1024 bits, as one portal says (wire/momo.md section 2.2)."""
    old = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - an operator's choice, not ours
    text = base64.b64encode(old.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    sealed = encrypt(public_key(text), b"1234")
    assert old.decrypt(base64.b64decode(sealed), SCHEMES["pkcs1"]) == b"1234"
