"""Another key for a node's vault: data keys are wrapped anew, model shares and keys of record digests sealed anew.

The data stay as they are. The node is stopped meanwhile. The same command finishes an interrupted rotation: each step
can be done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from parties import durable
from parties.data.records import Records
from parties.data.vault import Vault
from parties.data.vault_key import (
    FILE,
    KEY_FILE,
    NEXT_FILE,
    KeySource,
    MasterKey,
    create_master_key,
    load_master_key,
    master_key,
)
from parties.errors import SettingsError, VaultError
from parties.outcome.models import Models
from parties.service.home import Home


@dataclass(frozen=True)
class Rotated:
    """What is under the new key."""

    data_sets: int
    models: int
    to: Literal["file", "env", "command"]
    moved: bool  # to another source, which settings.toml does not name yet


def rotate(home: Home, to: KeySource | None = None, record: Callable[[Rotated], object] = lambda _: None) -> Rotated:
    """Re-wrap everything under a fresh key in the home's file, or under the key that `to` gives.

    `record` is called once it is sure that all can be done, before anything is.

    Raises: SettingsError if a key can't be had, or both are the same; VaultError, before anything is changed, if a
    data set or a model opens under neither.
    """
    source = home.settings.vault_key
    target = source if to is None else to
    old, is_fresh = master_key(home.directory, source), False
    if target == FILE:
        is_fresh = not home.path(NEXT_FILE).exists()
        new = create_master_key(home.path(NEXT_FILE)) if is_fresh else load_master_key(home.path(NEXT_FILE))
    elif to is None or target == source:
        raise SettingsError(
            "only a key in the home's file is made anew here",
            action="keep the new key beside the old one, and say where with --to env:NAME or a command",
        )
    else:
        new = master_key(home.directory, target)
    try:
        rotated = _rewrap(home, old, new, Rotated(0, 0, _kind(target), target != source), record)
    except NothingChanged as exc:
        if is_fresh:
            home.path(NEXT_FILE).unlink()  # it opens nothing
        raise exc.why from exc
    if target == FILE:
        _put_in_place(home)
    return rotated


class NothingChanged(Exception):
    """A rotation could not begin."""

    def __init__(self, why: VaultError) -> None:
        super().__init__()
        self.why = why


def _kind(target: KeySource) -> Literal["file", "env", "command"]:
    if not isinstance(target, str):
        return "command"
    return "file" if target == FILE else "env"


def _rewrap(
    home: Home, old: MasterKey, new: MasterKey, rotated: Rotated, record: Callable[[Rotated], object]
) -> Rotated:
    """Raises: NothingChanged if a data set or a model opens under neither key."""
    before, after = Vault(home.path("vault"), old), Vault(home.path("vault"), new)
    models_before, models_after = Models(home.path("models"), old), Models(home.path("models"), new)
    records_before, records_after = Records(home.path("records"), old), Records(home.path("records"), new)
    with durable.locked(home.path("vault")):
        names, sessions = before.list(), models_before.list()
        known = [session for session, standing in records_before.standings().items() if standing == "kept"]
        try:
            for name in names:
                before.check_opens(name, after)
            for session in sessions:
                models_before.check_opens(session, models_after)
            for session in known:
                records_before.check_opens(session, records_after)
        except VaultError as exc:
            raise NothingChanged(exc) from exc
        rotated = replace(rotated, data_sets=len(names), models=len(sessions))
        record(rotated)
        before.mark_rotating()  # what is being added under the old key is refused from here on
        for name in names:
            before.rewrap(name, after)
        for session in sessions:
            models_before.reseal(session, models_after)
        for session in known:
            records_before.reseal(session, records_after)
        after.mark_key()
    return rotated


def _put_in_place(home: Home) -> None:
    path, fresh = home.path(KEY_FILE), home.path(NEXT_FILE)
    if path.exists():
        durable.replace(fresh, path)
    else:
        fresh.rename(path)
        durable.sync_directory(home.directory)
