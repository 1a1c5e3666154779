"""What the gateway's own log has of a session, for those whom it concerns, as proofs that anybody verifies offline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.access.principal import CONSORTIUM
from gateway.access.tokens import TOKEN_FILE
from gateway.cli import app
from gateway.client import Gateway
from parties.agreement.plan import Plan
from parties.audit.events import session_of
from parties.audit.proof import parse
from parties.audit.snapshot import locate, take
from parties.errors import GatewayError
from tests.gateway.conftest import Consortium, House, check_problem

MakePlan = Callable[..., Plan]
PROPOSED, CANCELLED = "gateway:session:proposed", "session:run:cancelled"


@pytest.fixture
def ended(gateway: House, consortium: Consortium, make_plan: MakePlan) -> str:
    """A session that clinic-a's analyst proposed, that began, and that clinic-b's operator cancelled."""
    with gateway.client(gateway.personal("ada", "clinic-a", "analyst")) as ada:
        session = ada.propose(make_plan()).id
    consortium.started()
    with gateway.client(gateway.personal("bob", "clinic-b", "operator")) as bob:
        bob.cancel(session)
    return session


def privity(gateway: House, *words: str, fails: bool = False) -> str:
    place = ["--gateway", gateway.serving.url, "--token-file", str(gateway.home / TOKEN_FILE)]
    done = CliRunner().invoke(app, [*words, *(place if words[0] == "session" else ())])
    assert (done.exit_code != 0) == fails, done.output
    return str(done.exception) if fails and not isinstance(done.exception, SystemExit) else done.output


def test_every_entry_is_proven_offline(gateway: House, client: Gateway, ended: str, tmp_path: Path):
    """The list is what the log has about the session; each proof verifies by the key alone, and shows that entry."""
    log = {entry.index: entry for entry in take(locate(gateway.home)).entries() if session_of(entry.event) == ended}
    listed = client.log_entries(ended)
    assert [(one.entry, one.time, one.type) for one in listed] == [
        (index, entry.time, entry.event.type) for index, entry in log.items()
    ]
    assert {PROPOSED, CANCELLED, "gateway:approval:stored", "session:run:started"} <= {one.type for one in listed}
    key = client.log_head().fingerprint
    for one in listed:
        file = tmp_path / f"{one.entry}.tlog-proof"
        file.write_text(client.log_proof(ended, one.entry))
        assert parse(file.read_text()).entry() == log[one.entry]
        told = privity(gateway, "audit", "verify", str(file), "--key", key)
        assert told.startswith("verified")
        assert one.type in told
        assert ended in told


def test_an_altered_proof_does_not_verify(gateway: House, client: Gateway, ended: str, tmp_path: Path):
    """What comes by REST is believed for its hashes alone: with those of another entry, or by another key, it fails."""
    first, second = (client.log_proof(ended, one.entry) for one in client.log_entries(ended)[:2])
    file = tmp_path / "mixed.tlog-proof"
    hashes = re.compile(r"index \d+\n.*\n\n", re.DOTALL)
    file.write_text(hashes.sub(hashes.search(second)[0], first))  # type: ignore[index]
    assert "NOT VERIFIED" in privity(gateway, "audit", "verify", str(file), fails=True)
    file.write_text(first)
    other = "0000-" * 9 + "0000"
    assert CliRunner().invoke(app, ["audit", "verify", str(file), "--key", other]).exit_code == 1
    assert CliRunner().invoke(app, ["audit", "verify", str(file)]).exit_code == 0


def test_an_organisation_sees_what_is_its_own(gateway: House, client: Gateway, ended: str):
    """Partners have all but what names an account of another; who oversees the gateway has all; others have nothing."""
    gateway.invited("clinic-c")
    whole = {one.entry: one.type for one in client.log_entries(ended)}
    for name, hidden in {"clinic-a": {CANCELLED}, "clinic-b": {PROPOSED}, "dealer": {PROPOSED, CANCELLED}}.items():
        for role in ("analyst", "compliance"):
            token = gateway.personal(f"{role}-{name}", name, role, is_read_only=True)
            with gateway.client(token) as own, gateway.http(token) as http:
                listed = {one.entry: one.type for one in own.log_entries(ended)}
                assert listed == {entry: kind for entry, kind in whole.items() if kind not in hidden}
                for entry, kind in whole.items():
                    response = http.get(f"/v1/sessions/{ended}/log/{entry}")
                    if kind in hidden:
                        check_problem(response, 404, "rest.not-found")
                    else:
                        assert parse(response.text).entry().event.type == kind
    with gateway.client(gateway.personal("olga", CONSORTIUM, "compliance")) as officer:
        assert {one.entry: one.type for one in officer.log_entries(ended)} == whole
    for name in ("clinic-c", CONSORTIUM):
        with gateway.http(gateway.personal(f"stranger-{name}", name, "operator")) as http:
            for place in (f"/v1/sessions/{ended}/log", f"/v1/sessions/{ended}/log/0", f"/audit?session={ended}"):
                check_problem(http.get(place), 404, "rest.not-found")


def test_no_other_entry_is_shown(gateway: House, client: Gateway, http: httpx2.Client, ended: str, make_plan: MakePlan):
    """A number of another session's entry, of one about none, or past the end is not found; all look alike."""
    other = client.propose(make_plan()).id
    own = {one.entry for one in client.log_entries(ended)}
    size = len([*take(locate(gateway.home)).entries()])
    others = set(range(size + 2)) - own
    assert {one.entry for one in client.log_entries(other)} <= others
    for number in (*others, 10**14):
        found = check_problem(http.get(f"/v1/sessions/{ended}/log/{number}"), 404, "rest.not-found")
        assert found.detail == f"the gateway's log has no entry {number} about this session that you may see"
    for number in ("-1", "x", "1.5", str(10**15)):
        check_problem(http.get(f"/v1/sessions/{ended}/log/{number}"), 400, "rest.request")


def test_a_program_gets_proofs(gateway: House, client: Gateway, ended: str, tmp_path: Path):
    """`session log` lists, and writes a proof that `audit verify` takes; nothing that is there is written over."""
    listed = client.log_entries(ended)
    assert json.loads(privity(gateway, "session", "log", ended, "--json")) == [
        json.loads(one.model_dump_json()) for one in listed
    ]
    lines = privity(gateway, "session", "log", ended[:12]).splitlines()
    assert [line.split()[-1] for line in lines] == [one.type for one in listed]
    number = str(listed[-1].entry)
    text = client.log_proof(ended, listed[-1].entry)
    assert privity(gateway, "session", "log", ended, "--prove", number) == text
    assert json.loads(privity(gateway, "session", "log", ended, "--prove", number, "--json")) == {
        "entry": listed[-1].entry,
        "proof": text,
    }
    out = tmp_path / "entry.tlog-proof"
    words = ("session", "log", ended, "--prove", number, "--out", str(out))
    assert json.loads(privity(gateway, *words, "--json")) == {"entry": listed[-1].entry, "file": str(out)}
    assert privity(gateway, "audit", "verify", str(out)).startswith("verified")
    assert "exists already" in privity(gateway, *words, fails=True)
    assert "--prove ENTRY" in privity(gateway, "session", "log", ended, "--out", str(tmp_path / "list"), fails=True)
    with pytest.raises(GatewayError, match="no entry 0 about this session"):
        client.log_proof(ended, 0)


def test_the_audit_page_offers_proofs(gateway: House, client: Gateway, ended: str):
    """A session is chosen there, or its own page leads there; each link is a file that a browser saves."""
    with httpx2.Client(base_url=gateway.serving.url, follow_redirects=True) as pages:
        pages.get(client.login())
        assert f'<option value="{ended}">' in pages.get("/audit").text
        assert f'href="/audit?session={ended}#prove"' in pages.get(f"/sessions/{ended}").text
        shown = pages.get("/audit", params={"session": ended}).text
        links = re.findall(r'<a href="(/v1/[^"]+)" download>', shown)
        assert links == [f"/v1/sessions/{ended}/log/{one.entry}" for one in client.log_entries(ended)]
        saved = pages.get(links[0])
        name = f"gateway-{links[0].rpartition('/')[2]}.tlog-proof"
        assert saved.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert saved.headers["content-type"].startswith("text/plain")
        assert saved.text == client.log_proof(ended, int(links[0].rpartition("/")[2]))
        assert pages.get("/audit", params={"session": "x"}).status_code == 400
