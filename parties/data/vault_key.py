"""Where the key that opens a node's vault comes from: a file, the environment, or a command such as a KMS's.

Settings name the source (`vault_key`). A key that is not a file is 64 hexadecimal digits, or base64 of 32 bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from parties.errors import SettingsError
from parties.keys.identity import check_private, write_private
from parties.sealing import KEY_BYTES, Secret

FILE: Final = "file"
KEY_FILE: Final = "vault.key"
NEXT_FILE: Final = "vault.key.next"  # stands while a rotation is under way
COMMAND_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 1024

Place = Annotated[str, StringConstraints(pattern=r"^(file|env:[A-Za-z_][A-Za-z0-9_]{0,127})$")]
Command = Annotated[tuple[Annotated[str, StringConstraints(min_length=1)], ...], Field(min_length=1)]
KeySource = Place | Command
_KEY_SOURCE: TypeAdapter[KeySource] = TypeAdapter(KeySource)


class MasterKey(Secret):
    """Opens all of a node's data sets; stays in its daemon and command line."""


def parse_key_source(text: str) -> KeySource:
    """`file`, `env:NAME`, or a JSON list of words. Raises: SettingsError for anything else."""
    try:
        return _KEY_SOURCE.validate_python(json.loads(text) if text.startswith("[") else text)
    except (ValueError, ValidationError) as exc:
        raise SettingsError(
            "this is no place of a vault key", action='say file, env:NAME, or a command as ["WORD", "WORD"]'
        ) from exc


def create_master_key(path: Path) -> MasterKey:
    """Write a fresh master key to a new file that only its owner reads; who loses it loses every data set.

    Raises: SettingsError if the file exists.
    """
    key = MasterKey.generate()
    write_private(path, key.reveal())
    return key


def load_master_key(path: Path) -> MasterKey:
    """Raises: SettingsError if the file is missing or readable by others; VaultError if it is not a key."""
    try:
        with path.open("rb") as file:
            check_private(path, os.fstat(file.fileno()))
            return MasterKey(file.read(KEY_BYTES + 1))
    except OSError as exc:
        raise SettingsError(
            f"there is no readable vault key at {path}: {exc.strerror}",
            action="restore it from a backup, or run `privity node init` for a new node",
        ) from exc


def master_key(home: Path, source: KeySource) -> MasterKey:
    """The key as the source gives it, whatever else stands in the home.

    Raises: SettingsError if it gives none; VaultError if a file has another length.
    """
    if not isinstance(source, str):
        return _from_command(source)
    if source == FILE:
        return load_master_key(home / KEY_FILE)
    name = source.removeprefix("env:")
    if not (text := os.environ.get(name)):
        raise SettingsError(f"the environment has no {name}", action="set it to the vault's key, as settings.toml says")
    return _parse(text, f"what {name} holds")


def _from_command(words: Command) -> MasterKey:
    """No shell; what the command writes to standard error goes nowhere, since it could hold anything."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        why = exc.strerror if isinstance(exc, OSError) else f"it took over {COMMAND_S:.0f} s"
        raise SettingsError(
            f"the vault key's command {words[0]} can't be run: {why}", action="correct vault_key in settings.toml"
        ) from None
    if done.returncode:
        raise SettingsError(
            f"the vault key's command {words[0]} ended with exit status {done.returncode}",
            action="run it by hand, as the user whom the node runs as",
        )
    return _parse(done.stdout[:MAX_ANSWER_BYTES].decode("ascii", errors="replace"), f"what {words[0]} prints")


def _parse(text: str, what: str) -> MasterKey:
    """Raises: SettingsError, which repeats nothing of it, if it is no key."""
    text = text.strip()
    content = b""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        content = bytes.fromhex(text)
    else:
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            content = b""  # the error could quote it
    if len(content) != KEY_BYTES:
        raise SettingsError(
            f"{what} is no vault key", action="a key is 64 hexadecimal digits, or base64 of 32 random bytes"
        )
    return MasterKey(content)
