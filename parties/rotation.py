"""Another key for a node's vault: data keys are wrapped anew, model shares sealed anew; the data stay as they are.

The node is stopped meanwhile. The same command finishes an interrupted rotation: each step can be done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parties import durable
from parties.errors import SettingsError
from parties.home import Home
from parties.models import Models
from parties.vault import Vault
from parties.vault_key import (
    FILE,
    KEY_FILE,
    NEXT_FILE,
    KeySource,
    MasterKey,
    create_master_key,
    load_master_key,
    master_key,
)


@dataclass(frozen=True)
class Rotated:
    """What is under the new key."""

    data_sets: int
    models: int
    to: Literal["file", "env", "command"]
    moved: bool  # to another source, which settings.toml does not name yet


def rotate(home: Home, to: KeySource | None = None) -> Rotated:
    """Re-wrap everything under a fresh key in the home's file, or under the key that `to` gives.

    Raises: SettingsError if a key can't be had, or both are the same; VaultError, before anything is changed, if a
    data set or a model opens under neither.
    """
    source = home.settings.vault_key
    target = source if to is None else to
    old = master_key(home.directory, source)
    if target == FILE:
        new = _next_file(home)
    elif to is None or target == source:
        raise SettingsError(
            "only a key in the home's file is made anew here",
            action="keep the new key beside the old one, and say where with --to env:NAME or a command",
        )
    else:
        new = master_key(home.directory, target)
    rotated = _rewrap(home, old, new)
    if target == FILE:
        _put_in_place(home)
    kind: Literal["file", "env", "command"] = (
        "command" if not isinstance(target, str) else "file" if target == FILE else "env"
    )
    return Rotated(*rotated, to=kind, moved=target != source)


def _next_file(home: Home) -> MasterKey:
    """The key that an interrupted rotation began with, or a fresh one."""
    path = home.path(NEXT_FILE)
    return load_master_key(path) if path.exists() else create_master_key(path)


def _rewrap(home: Home, old: MasterKey, new: MasterKey) -> tuple[int, int]:
    before, after = Vault(home.path("vault"), old), Vault(home.path("vault"), new)
    models_before, models_after = Models(home.path("models"), old), Models(home.path("models"), new)
    with durable.locked(home.path("vault")):
        names, sessions = before.list(), models_before.list()
        for name in names:
            before.check_opens(name, after)
        for session in sessions:
            models_before.check_opens(session, models_after)
        for name in names:
            before.rewrap(name, after)
        for session in sessions:
            models_before.reseal(session, models_after)
        after.mark_key()  # a data set that is being added under the old key is refused from here on
    return len(names), len(sessions)


def _put_in_place(home: Home) -> None:
    path, fresh = home.path(KEY_FILE), home.path(NEXT_FILE)
    if path.exists():
        durable.replace(fresh, path)
    else:
        fresh.rename(path)
        durable.sync_directory(home.directory)
