"""Examinations of a home's files: rights, keys, certificates, partners, policy, vault, and the end of the log."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from mpc.errors import PrivityError
from parties.agreement.policy import load_policy
from parties.audit.tail import look_at
from parties.data.vault_key import FILE, KEY_FILE
from parties.data.vault_key import NEXT_FILE as NEXT_VAULT_FILE
from parties.doctor.symptom import Symptom
from parties.keys.identity_rotation import NEXT_FILE
from parties.keys.partners import Partners
from parties.service.home import Home
from parties.service.notices import WARN, expiring

_SECRETS: Final = ("identity.pem", NEXT_FILE, "tls.pem", KEY_FILE, NEXT_VAULT_FILE)
_DIRECTORIES: Final = ("", "vault", "records", "models", "replays", "results")
_CLOCK_SLACK: Final = timedelta(seconds=2)


def rights(home: Home) -> Iterator[Symptom]:
    """Keys and directories are their owner's alone, who is the one that asks."""
    wrong = [path for name in _DIRECTORIES if (path := home.path(name)).is_dir() and path.stat().st_mode & 0o077]
    secrets = (*_SECRETS, home.settings.notify_secret_file)
    open_keys = [path for name in secrets if (path := home.path(name)).exists() and path.stat().st_mode & 0o077]
    for path in wrong:
        yield Symptom("rights", "mend", f"{path} is open to others ({_mode(path.stat())})", f"run: chmod 700 {path}")
    for path in open_keys:
        yield Symptom(
            "rights", "mend", f"{path} is readable by others ({_mode(path.stat())})", f"run: chmod 600 {path}"
        )
    if (owner := home.directory.stat().st_uid) != os.geteuid():
        yield Symptom(
            "rights", "note", f"the home belongs to user {owner}", "run commands on it as its owner, by sudo -u"
        )
    if not wrong and not open_keys:
        yield Symptom("rights", "ok", "keys and directories are their owner's alone")


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


def identity(home: Home) -> Iterator[Symptom]:
    """The signing key is there, and no rotation of it is broken off."""
    found = home.identity.fingerprint
    if home.path(NEXT_FILE).exists():
        what = "a rotation of the key was broken off"
        yield Symptom("identity", "mend", what, "run `privity key rotate` again, with the daemon stopped")
    else:
        yield Symptom("identity", "ok", found)


def certificates(home: Home, now: datetime) -> Iterator[Symptom]:
    """Its own and the gateway's are within their times."""
    _ = home.tls  # an own one that can't be read
    ending = expiring(home, now)
    for one in ending:
        yield Symptom("certificates", "note" if one.ends > now else "mend", *one.line().split(": ", 1))
    if not ending:
        yield Symptom("certificates", "ok", f"none ends within {WARN.days} days")


def partners(home: Home) -> Iterator[Symptom]:
    """Somebody is confirmed, and no key waits to be accepted."""
    known = Partners(home.path("partners.json"))
    confirmed, offered = known.all(), known.keys().offered
    if confirmed:
        yield Symptom("partners", "ok", f"confirmed: {', '.join(sorted(confirmed))}")
    else:
        action = "compare fingerprints over the phone, then `privity partner add NAME FINGERPRINT`, for the dealer too"
        yield Symptom("partners", "mend", "none is confirmed, so that every contract is refused", action)
    for name in sorted(offered):
        action = f"compare it over the phone, then `privity partner accept {name}`"
        yield Symptom("partners", "note", f"{name} has handed over to another key, not accepted yet", action)


def policy(home: Home) -> Iterator[Symptom]:
    """It can be read, and every key fits."""
    found = load_policy(home.path("policy.toml"))
    signs = "every contract waits for the operator" if found.approve == "operator" else "some are signed unasked"
    yield Symptom("policy", "ok", f"it is valid; {signs}")


def vault(home: Home, *, daemon_runs: bool) -> Iterator[Symptom]:
    """Its key can be had, and is the one that the vault belongs to."""
    source = home.settings.vault_key
    if isinstance(source, str) and source != FILE and source.removeprefix("env:") not in os.environ and daemon_runs:
        what = f"its key is in the daemon's environment ({source}), which this command does not have"
        yield Symptom("vault", "note", what, "run the command with that variable to have it looked at")
        return
    key = home.master_key()
    from parties.data.vault import KEY_CHECK, Vault  # a dealer, which has none, loads no table library

    if not home.path("vault").joinpath(KEY_CHECK).exists():  # to look must not make one
        yield Symptom("vault", "ok", "its key can be read; there is no data set yet")
        return
    found = Vault(home.path("vault"), key)
    found.check_key()
    yield Symptom("vault", "ok", f"its key opens it; {len(found.list())} data set(s)")


def log(home: Home) -> Iterator[Symptom]:
    """Its newest head is signed by this key over the entries that are there."""
    size, _ = _end_of_log(home)
    yield Symptom("log", "ok", f"its head over {size} entries holds; `privity audit verify` looks at all of it")


def clock(home: Home, now: datetime) -> Iterator[Symptom]:
    """Nothing that was made is ahead of it. How far it is from others' clocks, this does not tell."""
    known: dict[str, datetime] = {}
    with suppress(PrivityError):  # said by another examination
        known["this daemon's certificate begins"] = _begin(home.tls.certificate)
    with suppress(PrivityError):
        known["the log's newest entry is"] = _end_of_log(home)[1]
    with suppress(OSError, ValueError):  # not fetched yet, or to be fetched again
        known["the gateway's certificate begins"] = _begin(home.path("gateway.pem").read_text(encoding="ascii"))
    ahead = {what: moment for what, moment in known.items() if moment > now + _CLOCK_SLACK}
    for what, moment in ahead.items():
        late = f"{what} {int((moment - now).total_seconds())} s after this clock's time"
        yield Symptom("clock", "mend", late, "set this machine's clock, by NTP")
    if not ahead:
        yield Symptom(
            "clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC; no certificate and no entry of the log is ahead of it"
        )


def _begin(certificate: str) -> datetime:
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_before_utc


def _end_of_log(home: Home) -> tuple[int, datetime]:
    return look_at(home.path("audit.sqlite"), home.settings.name, home.identity.public)
