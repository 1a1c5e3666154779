"""The closed vocabulary of the audit log: what may be written down, and in which words.

Each event has a type `source:subject:action` and a frozen schema. A field is an identifier, a digest, a code, a count
or a truth value; none can hold a value of anybody's data or a sentence.

The vocabulary only grows. A released event may gain fields that default to None, which are left out when None, so
that an old entry still encodes to its own bytes; any other change is a new event.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Final

from parties.audit.events import access, gateway, keys, log, opened, policy, service, session, vault
from parties.audit.events.access import (
    ConsoleClosed,
    ConsoleOffered,
    ConsoleOpened,
    ConsoleRefused,
    LoginFailed,
    LoginWay,
    TokenCreated,
    TokenRevoked,
)
from parties.audit.events.event import Event, participants_of, session_of
from parties.audit.events.fields import (
    DISCLOSURE_PATTERN,
    MAX_COUNT,
    MAX_DIMENSIONS,
    NAME_PATTERN,
    Reader,
    allowed_name,
)
from parties.audit.events.gateway import (
    ApprovalStored,
    InvitationMade,
    InvitationUsed,
    KeyMismatched,
    KeyReplaced,
    NodeJoined,
    SessionProposed,
)
from parties.audit.events.keys import (
    CertificateExpiring,
    IdentityCreated,
    IdentityRotated,
    PartnerAdded,
    PartnerKeyOffered,
    PartnerKeyReplaced,
    PartnerMismatched,
    PartnerRemoved,
    PartnerRevoked,
)
from parties.audit.events.log import (
    HeadCosigned,
    HeadRefused,
    LibraryChanged,
    LogCreated,
    LogVerified,
)
from parties.audit.events.opened import (
    CommitmentReceived,
    CommitmentSigned,
    DealerKeyBound,
    DisclosureRecorded,
    DisclosureRefused,
    DisclosureTold,
    FrameRefused,
    OpeningsCounted,
    RecordsMatched,
    Replayed,
    ResultStored,
    TranscriptCompared,
    TranscriptSigned,
)
from parties.audit.events.policy import (
    PolicyRead,
)
from parties.audit.events.service import (
    LoginClosed,
    LoginOffered,
    LoginOpened,
    LoginRefused,
    ServicePaused,
    ServiceResumed,
    ServiceStarted,
    ServiceStopped,
)
from parties.audit.events.session import (
    ConsentWithdrawn,
    ContractAltered,
    ContractApproved,
    ContractExpired,
    ContractReceived,
    ContractRefused,
    ContractReplayed,
    SessionCancelled,
    SessionCompleted,
    SessionFailed,
    SessionStarted,
    WorkerEnded,
    WorkerStarted,
)
from parties.audit.events.vault import (
    DataAdded,
    DataMatched,
    DataRead,
    DataRemoved,
    DataShared,
    ModelDeleted,
    ModelStored,
    ModelUsed,
    RecordsDestroyed,
    RecordsKept,
    RecordsSearched,
    ReplayDeleted,
    ReplayKept,
    VaultKeyRotated,
)

__all__ = [
    "DISCLOSURE_PATTERN",
    "MAX_COUNT",
    "MAX_DIMENSIONS",
    "NAME_PATTERN",
    "VOCABULARY",
    "ApprovalStored",
    "CertificateExpiring",
    "CommitmentReceived",
    "CommitmentSigned",
    "ConsentWithdrawn",
    "ConsoleClosed",
    "ConsoleOffered",
    "ConsoleOpened",
    "ConsoleRefused",
    "ContractAltered",
    "ContractApproved",
    "ContractExpired",
    "ContractReceived",
    "ContractRefused",
    "ContractReplayed",
    "DataAdded",
    "DataMatched",
    "DataRead",
    "DataRemoved",
    "DataShared",
    "DealerKeyBound",
    "DisclosureRecorded",
    "DisclosureRefused",
    "DisclosureTold",
    "Event",
    "FrameRefused",
    "HeadCosigned",
    "HeadRefused",
    "IdentityCreated",
    "IdentityRotated",
    "InvitationMade",
    "InvitationUsed",
    "KeyMismatched",
    "KeyReplaced",
    "LibraryChanged",
    "LogCreated",
    "LogVerified",
    "LoginClosed",
    "LoginFailed",
    "LoginOffered",
    "LoginOpened",
    "LoginRefused",
    "LoginWay",
    "ModelDeleted",
    "ModelStored",
    "ModelUsed",
    "NodeJoined",
    "OpeningsCounted",
    "PartnerAdded",
    "PartnerKeyOffered",
    "PartnerKeyReplaced",
    "PartnerMismatched",
    "PartnerRemoved",
    "PartnerRevoked",
    "PolicyRead",
    "Reader",
    "RecordsDestroyed",
    "RecordsKept",
    "RecordsMatched",
    "RecordsSearched",
    "ReplayDeleted",
    "ReplayKept",
    "Replayed",
    "ResultStored",
    "ServicePaused",
    "ServiceResumed",
    "ServiceStarted",
    "ServiceStopped",
    "SessionCancelled",
    "SessionCompleted",
    "SessionFailed",
    "SessionProposed",
    "SessionStarted",
    "TokenCreated",
    "TokenRevoked",
    "TranscriptCompared",
    "TranscriptSigned",
    "VaultKeyRotated",
    "WorkerEnded",
    "WorkerStarted",
    "allowed_name",
    "participants_of",
    "session_of",
]

_SOURCES: Final = (log, service, keys, policy, vault, session, opened, gateway, access)


def _events_of(module: ModuleType) -> dict[str, type[Event]]:
    """Those that a module defines, in its order, by type."""
    found = (kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Event))
    return {kind.type: kind for kind in found if kind is not Event}


VOCABULARY: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {name: kind for module in _SOURCES for name, kind in _events_of(module).items()}
)
