"""The console in a real browser: propose, sign at the nodes' own pages, watch, read results, check a proof."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from mpc.stages import Stage
from tests.browser import DEADLINE_S, DESKTOP, PHONE, Browser, browser, needs_chromium
from tests.e2e.looks import FAULTS
from tests.e2e.world import ID, LABEL, World, privity, until

pytestmark = needs_chromium
LOADING = (NoSuchElementException, StaleElementReferenceException)  # of a page that comes and goes
PURPOSE = "see how a disease goes on"
KEEP_SAID = """  // all that was said to those who listen, and all that the table's column of stages showed
window.said = []; window.cells = [];
new MutationObserver((changes) => {
  for (const { target, addedNodes } of changes)
    if (target.id === "said") for (const node of addedNodes) said.push(node.textContent);
  for (const cell of document.querySelectorAll("#live td[data-label=stage]")) cells.push(cell.textContent);
}).observe(document.body, {childList: true, subtree: true});
"""


@pytest.fixture(scope="module")
def window(world: World) -> Iterator[Browser]:
    """A browser that is logged in at the gateway, which at the end had nothing to complain of and asked nobody else."""
    with browser() as made:
        made.open(world.client.login())
        yield made
        made.look_back()
        assert made.hosts == {"127.0.0.1"}
        assert made.complaints == []


def base(world: World) -> str:
    return world.consortium.url


def choose(window: Browser, world: World) -> None:
    """The first step of a proposal: every party's data set."""
    window.open(f"{base(world)}/propose")
    for name in world.parties:
        window.one(f"input[value='{name}:{name}']").click()
    window.button("Go on").click()
    window.until("form", "document.querySelector('#purpose') !== null")


def fill_in(window: Browser, world: World) -> None:
    window.fill("purpose", PURPOSE)
    window.fill("legal_basis", "consent")
    Select(window.one("#label")).select_by_value(f"{world.parties[-1]}:{LABEL}")
    window.fill("label.positive", "high")
    Select(window.one("[name='model.solver']")).select_by_value("nesterov")
    for summary in window.all("summary"):
        summary.click()
    window.fill("model.max_iter", "60")
    window.one("#figure-roc").click()


@pytest.fixture(scope="module")
def completed(world: World, window: Browser) -> str:
    """A session that was proposed by the form and signed at the nodes' pages, while the browser watched it."""
    choose(window, world)
    window.button("Check").click()
    window.until("complaints", "document.activeElement.id === 'wrong'")
    assert "This does not fit yet" in window.text
    assert window.one("#purpose").get_attribute("aria-invalid") == "true"
    fill_in(window, world)
    window.button("Check").click()
    window.until("review", "document.querySelector('#toml') !== null")
    assert "Nothing was sent yet" in window.text
    assert f'purpose = "{PURPOSE}"' in window.one("#toml").text
    window.button("Propose it").click()
    window.until("wait", "document.querySelector('#standing')?.textContent.startsWith('waits for the signature of')")
    session = window.driver.current_url.rpartition("/")[2]
    window.run("document.body.dataset.kept = 'yes'")  # gone, were the page loaded again
    window.run(KEEP_SAID)
    for name in world.parties:
        until(f"the contract at {name}", lambda name=name: world.state(name, session) == "proposed")
        sign(world, name, session)
        gone = "!document.querySelector('#standing').textContent.includes(arguments[0])"
        window.until(f"signature of {name}", gone, name)
    window.until("end", "document.querySelector('.standing')?.textContent.includes('completed')")
    assert window.run("return document.body.dataset.kept") == "yes"
    assert "completed" in window.one("#said").get_attribute("textContent")
    assert "training" in window.run("return said")  # each stage as it began, while the run went on
    assert set(window.run("return cells")) & set(get_args(Stage))
    return session


def sign(world: World, name: str, session: str) -> None:
    """At the node's own page, in a browser of its operator's."""
    with browser() as operator:
        operator.open(privity("node", "login", "--home", world.directory / name).out.strip())
        operator.one(f"a.button[href$='/sessions/{session}']").click()
        operator.until("contract", "document.querySelector('a.button[href$=decide]') !== null")
        operator.link("Decide").click()
        operator.until("form", "document.querySelector('form[action$=approve]') !== null")
        operator.button("Sign for").click()
        operator.until("signature", "!/proposed/.test(document.querySelector('.state')?.textContent ?? 'proposed')")


def test_results_are_read(world: World, window: Browser, completed: str):
    """Figures, curve, seconds and the loss's course stand on the page; so does who is told the coefficients."""
    window.open(f"{base(world)}/sessions/{completed}")
    view = world.client.session(completed)
    auc = view.models[0].figures.auc
    assert f"{auc:.4f}" in window.text
    assert len(window.all(".plots svg")) == 1
    assert len(window.all(".chart polyline")) == 1
    for said in ("Seconds by stage", "nobody else: each reads its own at its node", "completed as agreed"):
        assert said in window.text
    for name in world.parties:
        assert f"{name} signed" in window.text


def test_a_report_is_one_file(world: World, window: Browser, completed: str):
    """What the gateway can tell of the session prints, and needs nothing else."""
    window.open(f"{base(world)}/sessions/{completed}/report")
    assert PURPOSE in window.text
    assert window.run("return document.querySelectorAll('link, script, img').length") == 0
    assert window.run("return getComputedStyle(document.body).maxWidth") == "864px"  # its own style holds


def test_it_is_proposed_again_like_before(world: World, window: Browser, completed: str):
    """The form has the earlier plan's very values; what comes of it is the same plan."""
    window.open(f"{base(world)}/sessions/{completed}")
    window.link("Propose again like this one").click()
    window.until("form", "document.querySelector('#purpose') !== null")
    assert window.one("#purpose").get_attribute("value") == PURPOSE
    window.button("Check").click()
    window.until("review", "document.querySelector('#toml') !== null")
    assert f"{world.client.contract(completed).quote.rounds:,}" in window.text


@pytest.mark.usefixtures("completed")
def test_the_browser_verifies_heads(world: World, window: Browser):
    """Every log's head is checked by the key shown, with partners' cosignatures."""

    def cosigned() -> bool:
        return all(one.cosigned for one in world.client.participants())

    until("cosignatures of every log", cosigned)
    window.open(f"{base(world)}/audit")
    judged_logs = "document.querySelectorAll('[data-log] [data-verdict]').length"
    window.until("verdicts", f"{judged_logs} === arguments[0]", 2 + len(world.parties))
    verdicts = {place.get_attribute("data-verdict") for place in window.all("[data-log] .verdict")}
    assert verdicts == {"verified"}
    assert f"Cosigned by {world.parties[1]}" in window.one(f"[data-log='{world.parties[0]}']").text
    for name, key in world.consortium.identities().items():
        assert key in window.one(f"[data-log='{name}']").text


@pytest.fixture(scope="module")
def proof(world: World, completed: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert world.client.session(completed).state == "completed"
    path = tmp_path_factory.mktemp("proofs") / "entry.tlog-proof"
    done = privity("audit", "prove", "7", "--home", world.directory / world.parties[0], "--out", path)
    assert done.status == 0, done.err
    return path


def judged(window: Browser, path: Path) -> str:
    """What the audit page says of a file."""
    window.run("document.querySelector('#verdict').removeAttribute('data-verdict')")
    window.one("#proof").send_keys(str(path))
    window.until("verdict", "document.querySelector('#verdict[data-verdict]') !== null")
    return window.one("#verdict").text


def test_an_officer_checks_a_proof(world: World, window: Browser, proof: Path, tmp_path: Path):
    """A proof holds by the key that its owner told; by another key, or altered, the first thing wrong is said."""
    window.open(f"{base(world)}/audit")
    window.until("checker", "!document.querySelector('#drop').hidden")
    said = judged(window, proof)
    assert "VERIFIED in this browser" in said
    assert "Entry 7 is in that log" in said
    assert "Ask org-0 for it over the phone" in said
    keys = world.consortium.identities()
    window.one("#fingerprint").send_keys(keys["org-0"].replace("-", " ").upper())
    assert "has the fingerprint that you typed" in judged(window, proof)
    window.one("#fingerprint").clear()
    window.one("#fingerprint").send_keys(keys["org-1"])
    assert "not by the one that you typed" in judged(window, proof)
    window.one("#fingerprint").clear()
    altered = tmp_path / "altered.tlog-proof"
    altered.write_text(proof.read_text().replace("index 7", "index 6"))
    assert "NOT VERIFIED: entry 6 was written as entry 7" in judged(window, altered)
    altered.write_bytes(b"\xff" + proof.read_bytes())
    assert "NOT VERIFIED: it is not text" in judged(window, altered)


@pytest.mark.usefixtures("completed")
def test_the_keyboard_is_enough(world: World, window: Browser):
    """From the first Tab on: skip link, pages in order, each with a focus that is seen."""
    window.open(f"{base(world)}/")
    assert window.tab() == "to the content"
    assert window.run("return document.activeElement.getBoundingClientRect().left >= 0")
    order = [window.tab() for _ in range(8)]
    assert order[1:] == ["Sessions", "Propose", "Participants", "Audit", "Tokens", "Log out", "Propose a session"]
    assert window.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    window.open(f"{base(world)}/")
    window.tab()
    window.press(Keys.ENTER)
    window.until("content", "document.activeElement.id === 'main'")
    assert window.tab() == "Propose a session"
    window.press(Keys.ENTER)
    window.until("form", "location.pathname === '/propose'")


def propose(world: World, window: Browser) -> str:
    """Have the filled-in form checked, propose what was read, and sign at every node's page."""
    window.button("Check").click()
    window.until("review", "document.querySelector('#toml') !== null")
    window.button("Propose it").click()
    window.until("wait", "document.querySelector('#standing')?.textContent.startsWith('waits for the signature of')")
    session = window.driver.current_url.rpartition("/")[2]
    for name in world.parties:
        until(f"the contract at {name}", lambda name=name: world.state(name, session) == "proposed")
        sign(world, name, session)
    assert world.ended(session).state == "completed"
    return session


def test_a_matching_is_proposed_and_completes(world: World, window: Browser):
    """By the form; each party keeps the common records under the name that was typed."""
    window.open(f"{base(world)}/propose")
    window.link_to("/propose?kind=matching").click()
    for name in world.parties:
        window.one(f"input[value='{name}:{name}']").click()
    window.button("Go on").click()
    window.until("form", "document.querySelector('#result') !== null")
    window.button("Compare one more column").click()
    window.until("room for another", "document.querySelectorAll('fieldset.card').length === 2")
    window.fill("purpose", "find common records")
    window.fill("result", "everywhere")
    session = propose(world, window)
    contract = world.client.contract(session)
    assert [party.columns for party in contract.parties] == [(ID,)] * len(world.parties)
    for name in world.parties:
        assert "everywhere" in privity("data", "list", "--home", world.directory / name).out


def test_a_prediction_is_proposed_and_completes(world: World, window: Browser, completed: str):
    """From the page of the training that left the model; one party is told."""
    window.open(f"{base(world)}/sessions/{completed}")
    window.link("Predict with its model").click()
    window.until("form", "document.querySelector('#recipient') !== null")
    window.fill("purpose", "score them")
    window.button("Check").click()
    window.until("complaints", "document.activeElement.id === 'wrong'")
    assert window.one("#recipient").get_attribute("aria-invalid") == "true"
    Select(window.one("#recipient")).select_by_visible_text(world.parties[0])
    session = propose(world, window)
    told = world.directory / "told.csv"
    done = privity("result", "export", session, "-o", told, "--home", world.directory / world.parties[0])
    assert done.status == 0, done.err
    assert len(told.read_text().splitlines()) == 1 + world.client.contract(session).program.rows


def test_pages_work_without_scripts(world: World, completed: str):
    """With scripts off a session is proposed all the same; its page loads itself again, and shows what changed."""
    with browser() as plain:
        plain.open(world.client.login())
        plain.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        plain.open(f"{base(world)}/propose?like={completed}")
        plain.button("Check").click()
        wait = WebDriverWait(plain.driver, DEADLINE_S, ignored_exceptions=LOADING)
        wait.until(lambda _: "Before it is proposed" in plain.text)
        plain.button("Propose it").click()
        wait.until(lambda _: "waits for the signature" in plain.text)
        world.client.cancel(plain.driver.current_url.rpartition("/")[2])
        wait.until(lambda _: "cancelled the session" in plain.text)
        plain.open(f"{base(world)}/audit")
        assert "This needs scripts" in plain.text


PAGES = ("/", "/propose", "/propose?kind=matching", "/propose?kind=prediction", "/participants", "/audit", "/tokens")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_page_fits(world: World, window: Browser, completed: str, scheme: str, size: tuple[int, int]):
    """No page scrolls sideways; text stands out by 4.5 to 1; fields have labels, tables captions, pages one heading."""
    window.size(*size)
    window.prefer(scheme)
    data = "&".join(f"data.{name}={name}:{name}" for name in world.parties)
    forms = (f"?{data}", f"?kind=matching&{data}", f"?kind=prediction&model={completed}", f"?like={completed}")
    for place in (*PAGES, *(f"/propose{form}" for form in forms), f"/sessions/{completed}"):
        window.open(base(world) + place)
        assert window.fits(), place
        assert window.run(FAULTS) == [], place
    window.size(*DESKTOP)
    window.prefer("light")
