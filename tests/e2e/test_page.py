"""Two operators decide at their own nodes' local pages, an officer reads there, and no terminal is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.world import World, privity, until

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def link(world: World, name: str, role: str = "operator") -> str:
    done = privity("node", "login", "--home", world.directory / name, "--role", role)
    assert (done.status, done.err) == (0, "")
    return done.out.strip()


class Browser:
    """A browser logged in at one node."""

    def __init__(self, address: str) -> None:
        self.client = httpx2.Client(follow_redirects=True, timeout=60)
        self.overview = self.client.get(address)
        assert self.overview.status_code == 200
        self.base = str(self.overview.url).rstrip("/")

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(self.base + path)

    def post(self, path: str, **fields: str) -> httpx2.Response:
        token = re.search(r'name="form_token" value="([^"]+)"', self.overview.text)
        assert token
        origin = self.base.rpartition("/")[0]
        return self.client.post(self.base + path, data={"form_token": token[1], **fields}, headers={"origin": origin})


@pytest.fixture
def browsers(world) -> Iterator[dict[str, Browser]]:
    made = {name: Browser(link(world, name)) for name in world.parties}
    yield made
    for browser in made.values():
        browser.client.close()


def received(world: World, session: str) -> None:
    for name in world.parties:
        until(f"the contract at {name}", lambda name=name: world.state(name, session) == "proposed")


def test_a_session_is_signed_at_the_pages(world, browsers):
    """The parties' operators read and sign in their browsers; the session runs, and each reads its own result there."""
    session = world.client.propose(world.plan).id
    received(world, session)
    for browser in browsers.values():
        assert f"/sessions/{session}" in browser.get("/").text
        assert "What leaves this organisation" in browser.get(f"/sessions/{session}/decide").text
        assert browser.post(f"/sessions/{session}/approve").status_code == 200
    assert world.ended(session).state == "completed"
    for name, browser in browsers.items():
        text = browser.get(f"/sessions/{session}").text
        kept = json.loads((world.directory / name / "results" / f"{session}.json").read_text())
        assert f"{kept['models'][0]['standardised'][0]:.6f}" in text
        assert "session:disclosure:recorded" in text
        assert "Verified at" in browser.post("/audit/verify").text


def test_a_refusal_at_a_page_is_told_to_all(world, browsers):
    """One operator says no, for a reason; the session ends everywhere, and everybody reads why."""
    session = world.client.propose(world.plan).id
    received(world, session)
    browsers[world.parties[0]].post(f"/sessions/{session}/refuse", reason="purpose")
    view = world.ended(session)
    assert view.state == "refused"
    assert view.fault is not None
    assert (view.fault.code, view.fault.who) == ("operator.purpose", world.parties[0])
    assert "does not agree to the purpose" in browsers[world.parties[1]].get(f"/sessions/{session}").text


def test_an_officer_decides_nothing(world):
    """An officer's login reads the contract; its attempt to sign changes nothing."""
    session = world.client.propose(world.plan).id
    received(world, session)
    officer = Browser(link(world, world.parties[0], "officer"))
    assert "What leaves this organisation" in officer.get(f"/sessions/{session}").text
    assert officer.post(f"/sessions/{session}/approve").status_code == 403
    officer.client.close()
    assert world.state(world.parties[0], session) == "proposed"
    world.client.cancel(session)
    world.ended(session)


def test_status_says_where_the_page_is(world):
    """So does the command; a role that is none, and a dealer, get a clear no."""
    page = world.status(world.parties[0])["page"]
    assert page in privity("node", "status", "--home", world.directory / world.parties[0]).out
    wrong = privity("node", "login", "--home", world.directory / world.parties[0], "--role", "root")
    assert (wrong.status, "say operator or officer" in wrong.err) == (1, True)
    dealer = privity("node", "login", "--home", world.directory / world.plan.dealer)
    assert (dealer.status, "does not do 'login'" in dealer.err) == (1, True)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `apt-get install chromium`")
def test_a_real_browser_shows_a_running_node(world, tmp_path):
    """A link from the terminal opens the page of a node that is a process of its own."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/browser", "--dump-dom", link(world, world.parties[0])]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<h1>Waits for you</h1>" in shown
    assert world.parties[1] in shown
