"""Nobody gets at a node's page but a browser that a link logged in, and an officer changes nothing."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from parties.audit.events import LoginClosed, LoginOffered, LoginOpened, LoginRefused
from parties.audit.snapshot import take
from parties.errors import PageError, SettingsError
from parties.page.access import COOKIE, LINK_S, LOGIN_S, MAX_FORM_BYTES, Login, Logins
from parties.page.app import ENDPOINTS
from parties.page.guard import HEADERS
from parties.page.ledger import Filter, excerpt
from parties.service.node import Node
from parties.web.addresses import names_loopback, parse_address
from parties.web.server import listen
from tests.parties.page.conftest import Clinic, home_of

ALLOWED = {  # (role, method, path): whether it is answered; each cell is stated here, not taken from the code
    ("operator", "GET", "/"): True,
    ("operator", "GET", "/sessions/{session}"): True,
    ("operator", "GET", "/sessions/{session}/contract"): True,
    ("operator", "GET", "/sessions/{session}/report"): True,
    ("operator", "GET", "/sessions/{session}/decide"): True,
    ("operator", "POST", "/sessions/{session}/approve"): True,
    ("operator", "POST", "/sessions/{session}/refuse"): True,
    ("operator", "GET", "/sessions/{session}/withdraw"): True,
    ("operator", "POST", "/sessions/{session}/withdraw"): True,
    ("operator", "GET", "/sessions/{session}/recording"): True,
    ("operator", "POST", "/sessions/{session}/recording"): True,
    ("operator", "GET", "/subject"): True,
    ("operator", "POST", "/subject"): True,
    ("operator", "GET", "/audit"): True,
    ("operator", "GET", "/audit/log"): True,
    ("operator", "GET", "/audit/head"): True,
    ("operator", "POST", "/audit/verify"): True,
    ("operator", "POST", "/logout"): True,
    ("officer", "GET", "/"): True,
    ("officer", "GET", "/sessions/{session}"): True,
    ("officer", "GET", "/sessions/{session}/contract"): True,
    ("officer", "GET", "/sessions/{session}/report"): True,
    ("officer", "GET", "/sessions/{session}/decide"): False,
    ("officer", "POST", "/sessions/{session}/approve"): False,
    ("officer", "POST", "/sessions/{session}/refuse"): False,
    ("officer", "GET", "/sessions/{session}/withdraw"): False,
    ("officer", "POST", "/sessions/{session}/withdraw"): False,
    ("officer", "GET", "/sessions/{session}/recording"): False,
    ("officer", "POST", "/sessions/{session}/recording"): False,
    ("officer", "GET", "/subject"): True,
    ("officer", "POST", "/subject"): True,
    ("officer", "GET", "/audit"): True,
    ("officer", "GET", "/audit/log"): True,
    ("officer", "GET", "/audit/head"): True,
    ("officer", "POST", "/audit/verify"): True,
    ("officer", "POST", "/logout"): True,
}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_table_has_every_cell():
    """An endpoint that is added is decided on for each role."""
    cells = {(role, one.method, one.path) for role, one in itertools.product(("operator", "officer"), ENDPOINTS)}
    assert set(ALLOWED) == cells


@pytest.mark.parametrize(("role", "method", "path"), ALLOWED)
def test_each_role_gets_its_own(clinic, role, method, path):
    """Cell by cell: whoever may is answered, whoever may not changes nothing."""
    session, browser = clinic.proposed(), clinic.browser(role)
    if path.endswith("/recording"):
        clinic.completed(session)
        clinic.node.replays.begin(session, "cohort", datetime.now(UTC) + timedelta(days=1))
    state, size = clinic.state(session), clinic.node.journal.size
    address = path.format(session=session)
    answer = browser.get(address) if method == "GET" else browser.post(address, reason="data")
    assert answer.status_code == (200 if ALLOWED[role, method, path] else 403)
    if not ALLOWED[role, method, path]:
        assert "an officer reads here and decides nothing" in answer.text
        assert clinic.node.journal.size == size
        assert clinic.state(session) == state


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_a_stranger_gets_nothing(clinic, one):
    """Without a cookie, with a guessed one, or with a real one at another login's path, every endpoint is closed."""
    session = clinic.proposed()
    inside, other = clinic.browser(), clinic.browser()
    cookie = next(iter(other.client.cookies.jar)).value
    for value in ("", "guessed", cookie):
        answer = httpx2.request(
            one.method,
            inside.base + one.path.format(session=session),
            headers={"cookie": f"{COOKIE}={value}", "origin": inside.origin},
        )
        assert answer.status_code == 401
        assert "you are not logged in" in answer.text
    assert clinic.state(session) == "proposed"


def test_a_link_works_once(clinic):
    """The cookie is for this page's path alone, out of scripts' and other sites' reach; a second use is told why."""
    link = clinic.link()
    first = httpx2.get(link)
    assert first.status_code == 303
    parts = {part.strip().lower().partition("=")[0]: part.strip() for part in first.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite", "max-age"} <= set(parts)
    assert parts["samesite"].lower() == "samesite=strict"
    assert parts["path"] == f"Path={first.headers['location'].rstrip('/')}"
    again = httpx2.get(link)
    assert again.status_code == 401
    assert "was used before, or is older than ten minutes" in again.text
    assert "privity node login" in again.text
    assert httpx2.get(link.partition("?")[0]).status_code == 401


def test_links_and_logins_end():
    """A link holds ten minutes, a login an hour, and logging out ends it at once."""
    clock = Clock()
    logins = Logins(clock)
    late = logins.offer("officer")
    login, cookie = logins.enter(logins.offer("operator"))
    gone, left = logins.enter(logins.offer("operator"))
    logins.leave(left)
    with pytest.raises(PageError, match="not logged in"):
        logins.find(gone.place, left)
    clock.now = LINK_S
    with pytest.raises(PageError, match="older than ten minutes"):
        logins.enter(late)
    assert logins.find(login.place, cookie) == login
    clock.now = LOGIN_S
    with pytest.raises(PageError, match="not logged in"):
        logins.find(login.place, cookie)


def test_a_login_hides_its_secrets():
    """Neither path nor token of a login comes into a log by print."""
    login = Login("officer")
    assert login.place not in repr(login)
    assert login.form_token not in repr(login)


def test_logging_out_closes_the_page(clinic):
    """Afterwards the same browser is a stranger, and the log has it."""
    browser = clinic.browser("officer")
    assert "you are logged out" in browser.post("/logout").text
    assert browser.get("/").status_code == 401
    (last,) = excerpt(clinic.node.journal.path, clinic.node.journal.size, Filter()).entries[:1]
    assert last.event == LoginClosed(role="officer")


def test_refused_links_are_recorded(tmp_path):
    """Used ones, and ones that never were: the first at once, the others together, and nothing of them."""
    made = Clinic(tmp_path)
    try:
        link = made.node.page.offer("operator")
        address = link.partition("?")[0]
        with httpx2.Client() as browser:
            assert browser.get(link).status_code == 303
            for tried in (link, f"{address}?code=made-up-by-a-stranger", address, link):
                assert browser.get(tried).status_code == 401
        assert refused(made) == [1]
    finally:
        made.stop()
    assert refused(made) == [1, 3]
    assert b"made-up-by-a-stranger" not in made.node.journal.path.read_bytes()


def refused(clinic) -> list[int]:
    """How many links each entry says were refused."""
    found = (entry.event for entry in take(clinic.node.journal.path).entries())
    return [event.count for event in found if isinstance(event, LoginRefused)]


def test_logins_are_recorded(clinic):
    """The log says who was offered a link and that it was used."""
    clinic.browser("officer")
    found = [entry.event for entry in excerpt(clinic.node.journal.path, clinic.node.journal.size, Filter()).entries[:2]]
    assert found == [LoginOpened(role="officer"), LoginOffered(role="officer")]


@pytest.mark.parametrize(
    "host", ["evil.example.org", "evil.example.org:80", "", "127.0.0.1.example.org", "[::1", "10.0.0.1"]
)
def test_another_name_is_no_way_in(clinic, host):
    """A page that makes the browser resolve its own name to here is refused, its logged-in victim notwithstanding."""
    assert not names_loopback(host)
    assert clinic.browser().get("/", headers={"host": host}).status_code in {400, 403}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": ""},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_another_page_signs_nothing(clinic, headers):
    """A form that another page sends, even one on another port here with a stolen token, is refused."""
    session, browser = clinic.proposed(), clinic.browser()
    answer = browser.post(f"/sessions/{session}/approve", headers=headers)
    assert answer.status_code == 403
    assert clinic.state(session) == "proposed"


def test_a_form_without_its_token_signs_nothing(clinic):
    """None, an empty one, and that of another login."""
    session, browser, other = clinic.proposed(), clinic.browser(), clinic.browser()
    for token in ("", "x", other.form_token(), "é"):
        answer = browser.post(f"/sessions/{session}/approve", form_token=token)
        assert answer.status_code == 403
        assert "not one that your login was shown" in answer.text
    assert clinic.state(session) == "proposed"


def test_a_get_signs_nothing(clinic):
    """What changes something is asked for by forms alone."""
    session, browser = clinic.proposed(), clinic.browser()
    for act in ("approve", "refuse"):
        assert browser.get(f"/sessions/{session}/{act}").status_code == 405
    assert clinic.state(session) == "proposed"


def test_a_large_form_is_refused_unread(clinic):
    """Whatever is sent, little of it is held in memory."""
    browser = clinic.browser()
    assert browser.post("/audit/verify", padding="x" * MAX_FORM_BYTES).status_code == 413
    many = {f"field{number}": "x" for number in range(20)}
    assert browser.post("/audit/verify", **many).status_code == 403


@pytest.mark.parametrize("path", ["/", "/style.css", "/login?code=x", "/nowhere", "/nowhere/audit"])
def test_every_answer_is_locked_down(clinic, path):
    """No script, no frame, no cache, no foreign request, on errors too."""
    answer = httpx2.get(clinic.node.page.url + path)
    assert HEADERS.items() <= dict(answer.headers).items()
    assert "script" not in answer.headers["content-security-policy"]


def test_pages_ask_for_nothing_from_outside(clinic):
    """No page has a script, an inline style or another host in it."""
    session, browser = clinic.proposed(), clinic.browser()
    for path in ("/", f"/sessions/{session}", f"/sessions/{session}/decide", "/audit"):
        text = browser.get(path).text
        assert "<script" not in text
        assert "style=" not in text
        assert "//" not in text.replace("<!doctype html>", "")


def test_a_role_that_is_none_gets_no_link(clinic):
    """The command says what it takes."""
    with pytest.raises(SettingsError, match="'root' is no role; say operator or officer"):
        clinic.link("root")


def test_a_taken_port_is_named(clinic):
    """Whoever starts a node whose page's port is another program's reads which setting to change."""
    with pytest.raises(SettingsError, match=r"page: can't listen on 127.0.0.1:[0-9]+: .*; see what else listens"):
        listen(parse_address(clinic.node.page.url.removeprefix("http://")), "page")


def test_a_node_without_a_page_says_how_to_get_one(tmp_path):
    """An empty setting serves nothing, and a login says which line to write."""
    home = home_of(tmp_path / "home")
    path = home.path("settings.toml")
    path.write_text(path.read_text().replace('page = "127.0.0.1:0"', 'page = ""'))
    node = Node(home)
    try:
        assert node.page is None
        with pytest.raises(SettingsError, match="serves no page; set page"):
            node.login("operator")
    finally:
        node.journal.close()
