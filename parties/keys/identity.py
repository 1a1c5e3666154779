"""An organisation's Ed25519 identity: its fingerprint, what it signs, and the envelopes that carry signatures.

The identity key only signs. It stays with the daemon and never enters a worker. Signatures are DSSE envelopes, whose
payload type says what is signed: an approval can never be taken for a log head.
"""

from __future__ import annotations

import hashlib
import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from parties.errors import ContractError, PartnerError, SettingsError
from parties.keys.words import WORDS, from_words, to_words

KEY_BYTES = 32
FINGERPRINT_BYTES = 20  # 160 bits against a second key with the same fingerprint; ten groups of four over the phone


def fingerprint(public_key: bytes) -> str:
    """The public key's name for people: ten groups of four hexadecimal digits."""
    digest = hashlib.sha256(b"privity identity\n" + public_key).hexdigest()[: 2 * FINGERPRINT_BYTES]
    return "-".join(digest[i : i + 4] for i in range(0, len(digest), 4))


def fingerprint_words(text: str) -> str:
    """A fingerprint in canonical form, as fifteen words."""
    return to_words(bytes.fromhex(text.replace("-", "")))


def parse_fingerprint(text: str) -> str:
    """The canonical form of a fingerprint typed with any separators, or as its words.

    Raises: PartnerError if it is neither ten groups of four hexadecimal digits nor fifteen words that check.
    """
    digits = re.sub(r"[\s:-]", "", text.strip().lower())
    if not re.fullmatch(rf"[0-9a-f]{{{2 * FINGERPRINT_BYTES}}}", digits):
        digits = _digits_of_words(text)
    return "-".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _digits_of_words(text: str) -> str:
    try:
        return from_words(text).hex()
    except ValueError as exc:
        what = f"expected {2 * FINGERPRINT_BYTES} hexadecimal digits, or {WORDS} words"
        if len(text.split()) == WORDS:
            what = "a word is misspelt, or is not the one that was read out"
        raise PartnerError(
            f"'{text[:200]}' is not a fingerprint: {what}", action="ask the partner to read out `privity key show`"
        ) from exc


def check_private(path: Path, status: os.stat_result) -> None:
    """Raises: SettingsError if others than the file's owner may use it."""
    if status.st_mode & 0o077:
        raise SettingsError(f"{path} is readable by others", action=f"run: chmod 600 {path}")


def write_private(path: Path, content: bytes) -> None:
    """Write a secret to a new file that only its owner reads, durably.

    Raises: SettingsError if the file exists.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise SettingsError(f"{path} exists already", action="choose another --home, or keep this one") from exc
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Identity:
    """A signing key. Redacted in print, not comparable, not picklable."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Identity:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Raises: SettingsError if the file is missing, readable by others, or not an Ed25519 key."""
        try:
            check_private(path, path.stat())
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError as exc:
            raise SettingsError(f"there is no identity at {path}", action="run the matching `init` first") from exc
        except ValueError as exc:
            raise SettingsError(f"{path} is not a private key in PEM", action="restore it from a backup") from exc
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{path} is not an Ed25519 key", action="restore it from a backup")
        return cls(key)

    def save(self, path: Path) -> None:
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, pem)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)

    def sign(self, message: bytes) -> bytes:
        """The raw Ed25519 signature, for signed notes; everything else is sealed by `seal`."""
        return self._key.sign(message)

    def seal(self, payload_type: str, payload: bytes) -> dict[str, Any]:
        """A DSSE envelope around the payload."""
        envelope = Envelope(payload, payload_type, {})
        envelope.sign(CryptoSigner(self._key, _dsse_key(self.public)))
        sealed: dict[str, Any] = envelope.to_dict()
        return sealed

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("identities are not compared; compare fingerprints")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity is not serialised")


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def unseal(envelope: dict[str, Any], public_key: bytes, payload_type: str) -> bytes:
    """The payload of an envelope that this key signed as this type.

    Raises: ContractError for another type, a malformed envelope, or a signature that does not verify.
    """
    try:
        parsed = Envelope.from_dict(deepcopy(envelope))
    except (FormatError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ContractError("a signed envelope is malformed", action="ask the sender to send it again") from exc
    if parsed.payload_type != payload_type:
        raise ContractError(f"an envelope of another type came where {payload_type} was expected")
    try:
        parsed.verify([_dsse_key(public_key)], 1)
    except VerificationError as exc:
        raise ContractError(
            f"a signature does not verify under the key {fingerprint(public_key)}",
            action="compare the partner's fingerprint over the phone",
            reason="signature",
        ) from exc
    payload: bytes = parsed.payload
    return payload


def _dsse_key(public_key: bytes) -> SSlibKey:
    return SSlibKey(fingerprint(public_key), "ed25519", "ed25519", {"public": public_key.hex()})
