"""Durable state: the store's promises on both databases, and what each of them has of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from gateway.errors import StoreAway
from gateway.home import init
from gateway.settings import load_settings
from gateway.storage.database import FILE, PASSWORD_FILE
from gateway.storage.neighbours import Moved
from gateway.storage.store import Store
from parties.errors import SettingsError
from tests.contracts.store_suite import NOW, StoreSuite
from tests.parties.databases import Server, postgresql


class TestSqlite(StoreSuite):
    def open(self, place: Path) -> Store:
        return Store.open(place)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server of this module's own."""
    with postgresql() as running:
        yield running


class TestPostgresql(StoreSuite):
    @pytest.fixture(autouse=True)
    def database(self, server: Server, request: pytest.FixtureRequest) -> None:
        """An empty database for each test."""
        self.url = server.fresh(re.sub(r"\W", "_", request.node.name)[:60])

    def open(self, place: Path) -> Store:
        return Store.open(place, self.url)

    def test_two_at_once_make_the_tables_once(self, tmp_path: Path):
        """Gateways that start together on an empty database find each other's tables."""
        with closing(self.open(tmp_path)), closing(self.open(tmp_path)) as second, second.reading() as rows:
            assert rows.members() == []

    def test_posts_are_taken_once_and_in_order(self, tmp_path: Path):
        """What a gateway leaves for another comes in order, once, and wakes it; a step undone leaves nothing."""
        with closing(self.open(tmp_path)) as store, closing(self.open(tmp_path)) as other:
            with store.transaction() as rows:
                for gateway in ("one", "two"):
                    rows.gateways.enter(gateway, gateway)
            with closing(other.bell("two")) as bell:

                def undo(store: Store) -> None:
                    with store.transaction() as rows:
                        rows.gateways.post("two", Moved(name="c"))
                        raise ValueError("undone")

                async def rings() -> None:
                    async with asyncio.timeout(30):
                        await bell.ring()

                for name in ("a", "b"):
                    with store.transaction() as rows:
                        rows.gateways.post("two", Moved(name=name), Moved(name=name * 2))
                        rows.gateways.post("nobody", Moved(name=name))
                with pytest.raises(ValueError, match="undone"):
                    undo(store)
                asyncio.run(rings())
            with other.transaction() as rows:
                assert rows.gateways.take("one") == []
                taken = rows.gateways.take("two")
                assert [post.name for _, post in taken] == ["a", "aa", "b", "bb"]
                assert [number for number, _ in taken] == sorted(number for number, _ in taken)
                assert rows.gateways.take("two") == []

    def test_a_gateway_that_is_buried_leaves_nothing(self, tmp_path: Path):
        """Its connections and posts go with it; those of others stay, and who moved on is not taken from them."""
        with closing(self.open(tmp_path)) as store, store.transaction() as rows:
            for name in ("clinic-a", "clinic-b"):
                rows.invite(name, "party", "authority", NOW)
            for gateway in ("one", "two"):
                rows.gateways.enter(gateway, gateway)
                rows.gateways.beat(gateway)
            rows.gateways.connect("clinic-a", "one")
            rows.gateways.connect("clinic-b", "one")
            rows.gateways.connect("clinic-b", "two")
            rows.gateways.disconnect("clinic-b", "one")
            rows.gateways.post("one", Moved(name="clinic-b"))
            assert rows.gateways.present() == {"clinic-a": "one", "clinic-b": "two"}
            rows.gateways.bury("one")
            assert (rows.gateways.present(), rows.gateways.beats()) == ({"clinic-b": "two"}, {"two": 1})
            assert not rows.gateways.counts("one")

    def test_who_waits_too_long_is_told(self, tmp_path: Path):
        """A transaction that another holds up does not wait for ever; what it would have done is not done."""
        with closing(self.open(tmp_path)) as store, closing(self.open(tmp_path)) as other:
            other._engine.dispose()
            event.listen(other._engine, "connect", lambda raw, _: raw.execute("SET lock_timeout = '200ms'").close())
            with store.transaction() as rows:
                assert rows.members() == []  # it locks where it first looks
                with pytest.raises(StoreAway, match="in time"), other.transaction() as waiting:
                    waiting.invite("clinic-a", "party", "authority", NOW)
                assert rows.members() == []
            with other.transaction() as waiting:
                assert waiting.members() == []


def test_server_that_goes_away_is_a_problem(tmp_path: Path):
    """A store whose server stops says so, and works again once the server does."""
    with postgresql() as server, closing(Store.open(tmp_path, server.url)) as store:
        server.stop()
        with pytest.raises(StoreAway, match="can't be reached"), store.reading() as rows:
            rows.members()
        with pytest.raises(StoreAway, match="can't be reached"), store.transaction() as rows:
            rows.members()
        server.start()
        with store.transaction() as rows:
            assert rows.members() == []


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


def test_server_that_does_not_answer_is_named(tmp_path: Path):
    """No server, or none that lets this user in, is an error in one line that says where."""
    with pytest.raises(SettingsError, match=r"database: postgresql.*can't be used \(.*\); see that the server runs"):
        Store.open(tmp_path, f"postgresql+psycopg://gateway@/sessions?host={tmp_path}")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://root@localhost/x", r"must be empty or postgresql\+psycopg"),
        ("postgresql+psycopg://u@localhost", r"must be empty or postgresql\+psycopg"),
        ("sessions", r"must be empty or postgresql\+psycopg"),
        ("postgresql+psycopg://u:hidden-word@localhost/x", "holds a password"),
        ("postgresql+psycopg://u@localhost/x?password=hidden-word", "holds a password"),
    ],
)
def test_url_must_fit_and_hold_no_password(tmp_path: Path, url: str, what: str):
    """What is no URL of PostgreSQL, or has its password in it, is refused; the password is not repeated."""
    with pytest.raises(SettingsError, match=what) as caught:
        init(tmp_path, database=url)
    assert "hidden-word" not in str(caught.value)
    assert not (tmp_path / "gateway.toml").exists()


def test_password_comes_from_a_file_of_ones_own(tmp_path: Path):
    """The file's password opens the server; a wrong one, or one that others can read, is told and not repeated."""
    with postgresql(password="right-word") as server:
        path = tmp_path / PASSWORD_FILE
        path.write_text("wrong-word\n")
        path.chmod(0o600)
        with pytest.raises(SettingsError, match="password authentication failed") as caught:
            Store.open(tmp_path, server.url)
        assert "wrong-word" not in str(caught.value)
        path.write_text("right-word\n")
        with closing(Store.open(tmp_path, server.url)) as store, store.reading() as rows:
            assert rows.members() == []
            assert "right-word" not in repr(store._engine) + str(store._engine.url)
        path.chmod(0o644)
        with pytest.raises(SettingsError, match="readable by others"):
            Store.open(tmp_path, server.url)


def test_settings_name_the_database(tmp_path: Path):
    """A gateway that is made on PostgreSQL has its tables there, and no file."""
    with postgresql() as server:
        init(tmp_path, database=server.url)
        assert load_settings(tmp_path).database == server.url
        assert not (tmp_path / FILE).exists()
        with closing(Store.open(tmp_path, server.url)) as store, store.reading() as rows:
            assert rows.members() == []
