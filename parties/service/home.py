"""A daemon's home directory: where its keys, settings and records lie, and how one is made.

settings.toml   who it is and where the gateway is        identity.pem   signs; never leaves
policy.toml     what it signs (nodes)                      tls.pem        its TLS key and certificate
partners.json   fingerprints that its operator confirmed  gateway.pem    the gateway's certificate
partner-keys.json  those revoked, offered, and former     handovers.json its own former keys' signatures
state.sqlite    sessions and epochs                       audit.sqlite   the audit log
vault.key, vault/   data at rest (nodes)                  results/       what it was disclosed (nodes)
records/        keyed digests of the own ids of each session (nodes)
models/         its shares of models that are kept (nodes)
"""

from __future__ import annotations

import tomllib
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from parties.agreement.contract import Address, Hex32
from parties.agreement.plan import Frozen, Name, explain
from parties.data.vault_key import FILE, NEXT_FILE, KeySource, MasterKey, create_master_key, master_key
from parties.errors import PartnerError, SettingsError
from parties.keys.handover import HANDOVERS_FILE, Handovers
from parties.keys.identity import Identity, write_private
from parties.keys.tls import Invitation, TlsKey, certificate_sha256, fetch_certificate
from parties.web.addresses import parse_address

Role = Literal["party", "dealer"]
Device = Literal["auto", "cpu", "cuda"]  # where a worker computes products with its table


def _loopback(text: str) -> str:
    if text and not parse_address(text).is_loopback:
        raise ValueError(f"{text} is not loopback; use 127.0.0.1 and reach it through ssh -L")
    return text


def _told(value: object) -> object:
    """A webhook's address; a list of words is left to its own type."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        fits = parts.scheme == "https" and parts.hostname and not (parts.username or parts.password or parts.fragment)
        fits = fits and value.isascii() and value.isprintable() and " " not in value and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError('write a command as a list of words, or an address as "https://HOST/PATH"')
    return value


Words = tuple[Annotated[str, Field(min_length=1)], ...]


class Settings(Frozen):
    """settings.toml; each key is explained in the file that `init` writes."""

    name: Name
    role: Role
    listen: Address
    advertise: Address | Literal[""] = ""
    page: Annotated[str, AfterValidator(_loopback)] = ""
    metrics: Annotated[str, AfterValidator(_loopback)] = ""
    vault_key: KeySource = FILE
    records_days: Annotated[int, Field(ge=0, le=3650)] = 365
    device: Device = "auto"
    notify: Annotated[Words | str, BeforeValidator(_told)] = ()
    notify_secret_file: Annotated[str, Field(min_length=1)] = "notify.secret"  # noqa: S105  (a file's name)
    gateway: Address
    gateways: tuple[Address, ...] = ()
    gateway_certificate_sha256: Hex32

    @model_validator(mode="after")
    def _of_nodes_alone(self) -> Self:
        if self.page and self.role == "dealer":
            raise ValueError('page: a dealer has nothing to decide and serves none; leave it ""')
        if self.device == "cuda" and self.role == "dealer":
            raise ValueError('device: a dealer computes on the CPU; leave it "cpu"')
        return self

    @property
    def every_gateway(self) -> tuple[Address, ...]:
        """Where the control stream may go, in the order in which it is tried."""
        return (self.gateway, *self.gateways)


_SETTINGS = """\
# This {role}'s name in the consortium, as the gateway invited it.
name = "{name}"
# What it is: "party" brings data, "dealer" hands out correlated randomness. One home is one of them.
role = "{role}"
# HOST:PORT where {callers} connect; port 0 takes a free one at each start.
listen = "{listen}"
# HOST:PORT that others are told instead, where a firewall translates addresses; empty: the one above.
advertise = ""
# HOST:PORT, loopback only, of the page where {readers}; port 0 takes a free one at each start; empty: none.
page = "{page}"
# HOST:PORT, loopback only, where Prometheus reads counts and sizes, without login; empty: none.
metrics = ""
# Where the key of the vault comes from: "file" (vault.key here), "env:NAME" (a variable of the environment), or a list
# of words, run without a shell, that prints it: a KMS. `privity data rotate --to` moves it. A dealer has no vault.
vault_key = "file"
# {records}
records_days = {days}
# {computes}
device = "{device}"
# Who is told when {occasion}: a command, as a list of words,
# run without a shell, which gets one line of JSON on its standard input, and 20 seconds; or a webhook, "https://...",
# which gets it by POST. Empty: nobody.
notify = []
# A file here with the secret by which a webhook knows this daemon: it signs the body.
notify_secret_file = "notify.secret"
# HOST:PORT of the gateway's control stream, which this daemon dials.
gateway = "{gateway}"
# More of them, where several share their sessions: they are dialled in turn when one does not answer.
gateways = []
# SHA-256 of the certificate that the gateway must show, from the invitation.
gateway_certificate_sha256 = "{sha256}"
"""


_RECORDS = """\
For how many days after a session this node can tell which of its own records took part (`privity audit subject`);
# at least as long as it keeps its share of the model. Then the key for it is destroyed. 0: no longer than the share."""


_COMPUTES = """\
Where products with the table are computed: "cpu"; "cuda", where a session fails without a GPU; "auto", a GPU if torch
# finds one. Results are the same, so contracts don't say; no GPU has been tried yet."""


class Home:
    """Paths and files of one daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def identity(self) -> Identity:
        return Identity.load(self.path("identity.pem"))

    @property
    def handovers(self) -> Handovers:
        return Handovers(self.path(HANDOVERS_FILE))

    @property
    def settings(self) -> Settings:
        """Raises: SettingsError if there is no home here, or a key does not fit."""
        path = self.path("settings.toml")
        try:
            return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as exc:
            raise SettingsError(
                f"{self.directory} is no home of a node or a dealer",
                action="run `privity node init` or `privity dealer init`, or give another --home",
            ) from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise SettingsError(f"{path} is not TOML: {exc}") from exc
        except ValidationError as exc:
            raise SettingsError(f"{path}: {explain(exc)}") from exc

    def master_key(self) -> MasterKey:
        """The vault's key. Raises: SettingsError if it can't be had, is half replaced, or the home is a dealer's."""
        if self.settings.role == "dealer":
            raise SettingsError("a dealer has no vault", action="give the home of a node")
        source = self.settings.vault_key  # first: a wrong home is told before a missing key
        if self.path(NEXT_FILE).exists():
            raise SettingsError(
                "the vault's key is being rotated, or that was interrupted",
                action="run `privity data rotate` again, as before",
            )
        return master_key(self.directory, source)

    @property
    def tls(self) -> TlsKey:
        """Raises: SettingsError if the file is missing or damaged."""
        try:
            content = self.path("tls.pem").read_bytes()
        except OSError as exc:
            raise SettingsError(f"{self.path('tls.pem')} can't be read", action="restore it from a backup") from exc
        key, _, certificate = content.partition(b"-----BEGIN CERTIFICATE-----")
        return TlsKey.from_pem(key, "-----BEGIN CERTIFICATE-----" + certificate.decode("ascii", errors="replace"))

    def gateway_certificate(self, address: str = "") -> str:
        """The certificate that the invitation names: kept from the last time, or fetched, from `gateway` by default.

        Raises: PartnerError if the gateway shows another; OSError if it does not answer.
        """
        path, settings = self.path("gateway.pem"), self.settings
        if path.exists():
            kept = path.read_text(encoding="ascii", errors="replace")
            with suppress(PartnerError):  # damaged
                if certificate_sha256(kept) == settings.gateway_certificate_sha256:
                    return kept
        fetched = self.shown_certificate(address or settings.gateway)
        path.write_text(fetched, encoding="ascii")
        return fetched

    def shown_certificate(self, address: str, timeout_s: float = 10) -> str:
        """The certificate (PEM) that a gateway shows now. Raises: as `gateway_certificate`."""
        return fetch_certificate(address, self.settings.gateway_certificate_sha256, timeout_s)


def init(directory: Path, role: Role, token: str, listen: str, now: datetime) -> Home:
    """Make a home out of an invitation: fresh keys, settings, a policy that asks its operator for everything.

    Raises: SettingsError if the directory is a home already, or the token or address is none; nothing is left then.
    """
    invitation = Invitation.parse(token)
    text = _settings_text(invitation, role, listen)
    home = Home(directory)
    if home.path("settings.toml").exists():
        raise SettingsError(f"{directory} is a home already", action="choose another --home")
    with ExitStack() as undo:
        try:
            _make(home, invitation, role, text, now, undo)
        except OSError as exc:
            raise SettingsError(f"{directory} can't be a home: {exc.strerror}", action="choose another --home") from exc
        undo.pop_all()
    return home


def _settings_text(invitation: Invitation, role: Role, listen: str) -> str:
    """Raises: SettingsError if what came from outside is no setting."""
    text = _SETTINGS.format(
        role=role,
        name=invitation.name,
        listen=listen,
        callers="the other parties' workers" if role == "party" else "workers",
        readers="operators decide and officers read"
        if role == "party"
        else "a node's operator decides (a dealer has none)",
        page="127.0.0.1:0" if role == "party" else "",
        occasion="a contract waits for the operator or a session failed" if role == "party" else "a session failed",
        records=_RECORDS if role == "party" else "Of nodes alone, which have records; leave it 0.",
        days=Settings.model_fields["records_days"].default if role == "party" else 0,
        computes=_COMPUTES if role == "party" else "Of nodes alone: a dealer computes on the CPU.",
        device=Settings.model_fields["device"].default if role == "party" else "cpu",
        gateway=invitation.address,
        sha256=invitation.gateway_sha256,
    )
    try:
        Settings(
            name=invitation.name,
            role=role,
            listen=listen,
            gateway=invitation.address,
            gateway_certificate_sha256=invitation.gateway_sha256,
        )
    except ValidationError as exc:
        raise SettingsError(
            f"no home comes of this: {explain(exc)}", action="give --listen as HOST:PORT, --invite as it was printed"
        ) from exc
    return text


def _make(home: Home, invitation: Invitation, role: Role, settings: str, now: datetime, undo: ExitStack) -> None:
    """Every file of a home; how to take each back stands in `undo` before the next is made."""
    if not home.directory.exists():
        home.directory.mkdir(parents=True, mode=0o700)
        undo.callback(home.directory.rmdir)
    home.directory.chmod(0o700)
    tls = invitation.admit(now)
    Identity.generate().save(home.path("identity.pem"))
    undo.callback(home.path("identity.pem").unlink)
    write_private(home.path("tls.pem"), tls.key_pem + tls.certificate.encode())
    undo.callback(home.path("tls.pem").unlink)
    if role == "party":
        create_master_key(home.path("vault.key"))
        undo.callback(home.path("vault.key").unlink)
        home.path("results").mkdir(mode=0o700)
        undo.callback(home.path("results").rmdir)
        write_private(home.path("policy.toml"), POLICY.encode())
        undo.callback(home.path("policy.toml").unlink)
    write_private(home.path("settings.toml"), settings.encode())  # last: a home exists once this does


POLICY = """\
# What this organisation signs. A contract that breaks a rule is refused whoever asks.

# Partners that may take part; empty: any whose fingerprint was confirmed.
partners = []
# Dealers that may serve a session; empty: any whose fingerprint was confirmed.
dealers = []
# Purposes that may be signed, word for word; empty: any (the operator reads it).
purposes = []
# Whether a contract must name an impact assessment.
impact_assessment = false
# Whether it must name the assessment's document by its digest (SHA-256) too.
impact_assessment_digest = false
# Solvers that may be used.
solvers = ["newton", "nesterov", "sgd"]
# Disclosures that may be named in a contract. "moments" are sums of columns of which several parties hold rows,
# "membership" which of these parties has which record, "probabilities" what a prediction tells its recipient.
# "weight-of-evidence" tells the owner of a column, in steps, how the labels are spread over its bins. "levels" names
# the frequent values of a column to those who have other records of it, "quantiles" tells these its joint quantiles,
# "means" the sum of a column with gaps, and of how many values it is.
# A matching of records tells all parties "matches", how many records are common, and each one "matched", which of its
# own all others have. An estimate tells all parties "sample-matches", how many of a random sample are common, and
# everybody "estimate", about how many records are. What comes after "probabilities" waits for the operator, unless it
# stands under [automatic] as well.
disclosures = [
    "coefficients", "intercept", "loss", "guard", "moments", "converged", "cross-validation", "auc", "log-loss",
    "brier", "roc", "calibration", "probabilities", "membership", "matches", "matched", "sample-matches", "estimate",
    "weight-of-evidence", "information-value", "levels", "quantiles", "means",
]
# Fewest training rows of this organisation in a session.
min_training_rows = 50
# Fewest rows of a batch, if a session trains on mini-batches; whole passes through the table are asked for always.
min_batch_rows = 20
# Most coefficients, counts of labels in bins (weight of evidence), joint quantiles and joint means of columns with gaps
# for each hundred training rows.
max_columns_per_100_rows = 20
# How often a session may disclose its training loss.
max_loss_reports = 100
# Least noise that each party adds to each told weight of a training, a deviation in standardised units; 0: none.
min_noise = 0.0
# Fewest rows of the smallest cell: of ROC and calibration tables of held-out rows, of bins' weights of evidence, of
# levels that are named to others, between joint quantiles, of a party's part of a joint mean of a column with gaps.
min_cell_rows = 10
# Most rows of a prediction; each tells its recipient something of the model and of the other parties' columns.
max_predicted_rows = 10000
# Most days for which each party may keep a sealed recording of what came in, for its officer's replay; 0: never. A
# recording holds the others' masked rows: whoever has it and the dealer's masks has the rows. That of a matching, with
# the seed beside it, takes this party's layer off all lists (docs/replay.md).
max_replay_days = 0
# Fewest common records of a matching: with fewer it must end before anybody is told which they are.
min_matches = 50
# Most estimates of common records on one data set with one partner, as each tells a little more; 0: any number.
estimates_a_partner = 3
# Own columns that never take part.
never_columns = []
# Most sessions within a day, 0: any number.
sessions_a_day = 0
# Most sessions on one data set; 0: any number.
sessions_a_data_set = 0
# Most sessions on one data set for one purpose, word for word; 0: any number.
sessions_a_purpose = 0
# When contracts are signed, in this machine's time, such as "08:00-18:00"; empty: always.
hours = ""

# "operator": every contract waits for `privity session approve` here. "automatic": what keeps the rules above, and
# those under [automatic] as well, is signed.
approve = "operator"

# Rules for what is signed without the operator, by the keys above; a contract that breaks one waits for the operator.
# Unless this says other `disclosures`, all that names persons whom two parties have, or tells how many, waits:
# "membership", "matches", "matched", "sample-matches" and "estimate".
[automatic]
"""
