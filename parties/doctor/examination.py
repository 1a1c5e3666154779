"""All examinations of a home, in the order in which what they find is mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from parties.doctor import files, machine, network, others
from parties.doctor.symptom import Examination, Symptom, examined
from parties.service import local
from parties.service.home import Home
from parties.service.standing import Disk

DAEMON_S: Final = 10.0  # for a daemon's word on how it stands
NOWHERE: Final[Mapping[str, str]] = MappingProxyType({})


def examine(
    home: Home, now: datetime, daemon_s: float = DAEMON_S, dialled: Mapping[str, str] = NOWHERE
) -> Iterator[Symptom]:
    """`dialled`: addresses of partners, HOST:PORT by name, in the place of those that approvals told.

    Raises: SettingsError if the settings can't be read: then there is no home to examine.
    """
    role = home.settings.role
    status: dict[str, Any] | None = None
    runs = True
    try:
        status = local.call(home.directory, "status", timeout_s=daemon_s)
    except ConnectionRefusedError:
        runs = False
    except (TimeoutError, local.RemoteError):
        action = "see its operational log, and start it again"
        yield Symptom("daemon", "mend", "it runs, and does not say how it stands", action)
    heard = cache(lambda: others.hear(home))
    examinations: dict[str, Examination] = {
        "rights": lambda: files.rights(home),
        "identity": lambda: files.identity(home),
        "certificates": lambda: files.certificates(home, now),
        "clock": lambda: files.clock(home, now),
        "log": lambda: files.log(home),
        "partners": lambda: files.partners(home),
        "gateway": lambda: network.gateway(home, status, now),
        "the gateway's clock": lambda: others.clock(heard()),
        "versions": lambda: machine.versions(status),
        "the gateway's release": lambda: others.release(heard()),
        "each partner": lambda: others.partners(home, heard(), dialled),
        "disk": lambda: machine.disk(Disk.of(home.directory)),
        "entropy": machine.entropy,
    }
    if status is not None or not runs:  # the port of a daemon that is silent is neither free nor its own
        examinations["listen"] = lambda: network.address(home, status)
    if role == "party":
        examinations["policy"] = lambda: files.policy(home)
        examinations["vault"] = lambda: files.vault(home, daemon_runs=runs)
        examinations["gpu"] = lambda: machine.gpu(home.settings.device)
    for about, examination in examinations.items():
        yield from examined(about, examination)
