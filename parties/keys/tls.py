"""TLS keys and contexts: P-256 certificates, one a daemon and a fresh one for each worker of a session.

A certificate proves nothing by its name: whoever accepts one compares it with the very certificate that the contract's
approvals (or an invitation) name. Both ends always authenticate; TLS 1.3 only.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from parties.errors import PartnerError, SettingsError

DAEMON_DAYS = 3650
WORKER_DAYS = 90
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class TlsKey:
    """A P-256 key with its certificate. Redacted in print; not comparable, not picklable."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def sha256(self) -> str:
        return certificate_sha256(self.certificate)

    @classmethod
    def generate(cls, name: str, *, now: datetime, days: int = WORKER_DAYS) -> TlsKey:
        """A fresh key with a self-signed certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certificate(name, key, issuer=name, issuer_key=key, now=now, days=days, authority=True))

    @classmethod
    def from_pem(cls, key_pem: bytes, certificate: str) -> TlsKey:
        """Raises: SettingsError if it is not a P-256 key with its certificate."""
        try:
            key = serialization.load_pem_private_key(key_pem, password=None)
            parsed = x509.load_pem_x509_certificate(certificate.encode())
        except ValueError as exc:
            raise SettingsError("a TLS key or certificate is not PEM", action="restore it from a backup") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != parsed.public_key():
            raise SettingsError("a TLS key does not belong to its certificate", action="restore both from a backup")
        return cls(key, parsed)

    def __repr__(self) -> str:
        return f"TlsKey({self.sha256[:16]})"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("TLS keys are not compared; compare their certificates' digests")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TLS key is not serialised")


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
    authority: bool,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(secrets.randbits(120) | 1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


class Invitation:
    """A one-time token: where the gateway is, which certificate it shows, and a seed that admits one daemon.

    The seed is a signing key for the TLS certificate of whoever holds the token: the gateway's TLS server trusts that
    key until the invitation is used, and afterwards one certificate under it. Nothing secret goes back to the gateway.
    """

    def __init__(self, name: str, address: str, gateway_sha256: str, seed: bytes) -> None:
        self.name, self.address, self.gateway_sha256, self._seed = name, address, gateway_sha256, seed

    @classmethod
    def create(cls, name: str, address: str, gateway_sha256: str) -> Invitation:
        return cls(name, address, gateway_sha256, secrets.token_bytes(16))

    @classmethod
    def parse(cls, token: str) -> Invitation:
        """Raises: SettingsError if the token is not one."""
        try:
            kind, packed = token.strip().split("_", 1)
            raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
            if kind != "privity1" or len(raw) < 48:
                raise ValueError("not a token")
            name, address = raw[48:].decode("ascii").split("@", 1)
        except ValueError as exc:
            raise SettingsError(
                "that is not an invitation", action="copy the whole token, it begins with privity1_"
            ) from exc
        return cls(name, address, raw[16:48].hex(), raw[:16])

    def token(self) -> str:
        raw = self._seed + bytes.fromhex(self.gateway_sha256) + f"{self.name}@{self.address}".encode("ascii")
        return "privity1_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _key(self) -> ec.EllipticCurvePrivateKey:
        wide = HKDF(hashes.SHA256(), 48, salt=None, info=b"privity invitation " + self.name.encode()).derive(self._seed)
        return ec.derive_private_key(1 + int.from_bytes(wide, "big") % (_P256_ORDER - 1), ec.SECP256R1())

    def authority(self, now: datetime) -> str:
        """What the gateway keeps: the certificate (PEM) under which the invited daemon will show its own."""
        subject = f"invitation {self.name}"
        key = self._key()
        made = _certificate(subject, key, issuer=subject, issuer_key=key, now=now, days=DAEMON_DAYS, authority=True)
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def admit(self, now: datetime) -> TlsKey:
        """What the invited daemon makes: its own TLS key, with a certificate under the invitation."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = f"invitation {self.name}"
        made = _certificate(
            self.name, key, issuer=issuer, issuer_key=self._key(), now=now, days=DAEMON_DAYS, authority=False
        )
        return TlsKey(key, made)

    def __repr__(self) -> str:
        return f"Invitation({self.name} at {self.address})"


def certificate_sha256(pem: str) -> str:
    """Raises: PartnerError if it is not a certificate."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError as exc:
        raise PartnerError("a certificate is not PEM") from exc


def one_certificate(pem: str) -> str:
    """The same text. Raises: ValueError if it is not one certificate exactly: a bundle would admit a second key."""
    try:
        parsed = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise ValueError("must be a certificate in PEM") from None
    if parsed.public_bytes(serialization.Encoding.PEM).decode() != pem:
        raise ValueError("must be one certificate in PEM and nothing else")
    return pem


def fetch_certificate(address: str, expected_sha256: str, timeout_s: float = 10) -> str:
    """The certificate (PEM) that a server shows, if its digest is the one expected.

    Raises: PartnerError if it is another; OSError if nobody answers.
    """
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the digest, from the invitation, is what is verified
    with socket.create_connection((host, port), timeout_s) as raw, context.wrap_socket(raw) as tls:
        der = tls.getpeercert(binary_form=True) or b""
    if not secrets.compare_digest(hashlib.sha256(der).hexdigest(), expected_sha256):
        raise PartnerError(
            f"{address} shows another certificate than the invitation names",
            action="ask the gateway's operator for a new invitation, by another channel",
        )
    return ssl.DER_cert_to_PEM_cert(der)


def split_address(address: str) -> tuple[str, int]:
    """Raises: SettingsError if it is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise SettingsError(f"'{address}' is not HOST:PORT")
    return host, int(port)


def worker_context(own: TlsKey, peer_certificate: str, *, server: bool) -> ssl.SSLContext:
    """A TLS 1.3 context that accepts exactly one peer certificate; the caller compares it again after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the key is the identity, not a name
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=peer_certificate)
    _load_chain(context, own)
    return context


def _load_chain(context: ssl.SSLContext, own: TlsKey) -> None:
    """`ssl` reads a key from a file only: a memory file, which no disk ever sees, removed at once."""
    shm = Path("/dev/shm")  # noqa: S108
    with tempfile.NamedTemporaryFile(dir=shm if shm.is_dir() else None) as file:
        file.write(own.key_pem + own.certificate.encode())
        file.flush()
        context.load_cert_chain(file.name)


def utc_now() -> datetime:
    return datetime.now(UTC)
