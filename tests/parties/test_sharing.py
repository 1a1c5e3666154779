"""What a node tells of its data: schemas of shared data sets, and that alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest

from parties.agreement.contract import Contract
from parties.audit.log import AuditLog
from parties.data.schema import Column, Schema
from parties.data.tables import Table
from parties.errors import VaultError
from parties.keys.tls import Invitation, utc_now
from parties.service.home import Home, init
from parties.service.node import Node
from tests.parties.conftest import draft

ROWS = 400
SECRET = 31415.926


class Described(Table):
    """A table with words of its owner's."""

    def schema(self, name: str) -> Schema:
        age, *others = super().schema(name).columns
        words = age.model_copy(update={"description": "at admission", "unit": "years"})
        return super().schema(name).model_copy(update={"columns": (words, *others)})


@pytest.fixture
def node(tmp_path) -> Iterator[Node]:
    token = Invitation.create("clinic-a", "127.0.0.1:1", "ab" * 32).token()
    home: Home = init(tmp_path / "home", "party", token, "127.0.0.1:0", utc_now())
    AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a").close()
    made = Node(home)
    yield made
    made.journal.close()


def put(node: Node, name: str, *, shareable: bool) -> str:
    columns = {"patient": [f"p{i}" for i in range(ROWS)], "age": [SECRET + i for i in range(ROWS)]}
    columns |= {"dose": [float(i % 7) for i in range(ROWS)], "outcome": ["yes", "no"] * (ROWS // 2)}
    table = Described("t", "patient", pa.table(columns))
    return node.vault.add(name, table, created=utc_now(), shareable=shareable).version


def contract(node: Node, name: str, version: str) -> Contract:
    paper = draft(node.identity.public.hex(), "22" * 32, "33" * 32, rows=ROWS)
    schema = node.vault.schema(name).digest if name in node.vault.list() else "5a" * 32
    own = paper.parties[0].model_copy(update={"data": name, "data_version": version, "schema_sha256": schema})
    return paper.model_copy(update={"parties": (own, *paper.parties[1:])})


def test_only_shared_data_sets_are_published(node):
    """Name, columns, words and row count of what is shared; no name of another, and no value."""
    put(node, "shared", shareable=True)
    put(node, "kept", shareable=False)
    (told,) = node.greetings()
    text = told.model_dump_json()
    (data,) = json.loads(text)["data"]
    assert data["table"]["name"] == "shared"
    assert data["table"]["rows"] == ROWS
    assert Column.model_validate(data["table"]["columns"][0]).unit == "years"
    assert "kept" not in text
    assert "31415" not in text
    node.vault.share("kept", shareable=True)
    node.vault.share("shared", shareable=False)
    (told,) = node.greetings()
    assert [item.table.name for item in told.data] == ["kept"]


def test_a_contract_about_an_unshared_data_set_is_refused_as_if_there_were_none(node):
    """Whoever names a data set that is not shared learns nothing of whether it is there."""
    version = put(node, "cohort", shareable=False)
    told = []
    for name in ("cohort", "nowhere"):
        with pytest.raises(VaultError) as caught:
            node.examine(contract(node, name, version))
        told.append((caught.value.outward.replace(name, "X"), caught.value.action, caught.value.code))
    assert told[0] == told[1]
    node.vault.share("cohort", shareable=True)
    node.examine(contract(node, "cohort", version))
