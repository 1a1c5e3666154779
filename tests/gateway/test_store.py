"""Durable state: whole transactions, also across processes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.store import FILE, Store
from parties.errors import SettingsError

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_transaction_is_all_or_nothing(tmp_path: Path):
    """What raises inside a transaction leaves nothing of it behind."""
    store = Store.open(tmp_path)

    def half() -> None:
        with store.transaction() as rows:
            rows.invite("clinic-a", "party", "authority", NOW)
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        half()
    with store.transaction() as rows:
        assert rows.members() == []
    store.close()


def test_other_process_sees_what_is_committed(tmp_path: Path):
    """Two stores on one file, as `invite` and the daemon have, see each other's commits."""
    first, second = Store.open(tmp_path), Store.open(tmp_path)
    with first.transaction() as rows:
        rows.invite("clinic-a", "dealer", "authority", NOW)
    with second.transaction() as rows:
        (member,) = rows.members()
    assert (member.name, member.role, member.invited, member.public_key) == ("clinic-a", "dealer", NOW, None)
    assert second.authorities(NOW, 1) == b"authority"
    first.close()
    second.close()


def test_file_is_complete_once_closed(tmp_path: Path):
    """After the end nothing of the store lies in a file beside it, and only its owner reads it."""
    store = Store.open(tmp_path)
    with store.transaction() as rows:
        rows.invite("clinic-a", "party", "authority", NOW)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_file_that_is_no_store_is_named(tmp_path: Path):
    """A damaged file is an error in one line."""
    (tmp_path / FILE).write_bytes(b"this is no database, " * 100)
    with pytest.raises(SettingsError, match="can't be opened as a store"):
        Store.open(tmp_path)
