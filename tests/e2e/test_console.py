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
from tests.e2e.looks import astray, check_calibration, faults
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
    window.one("#figure-calibration").click()
    window.fill("split.held_out", "0.75")  # groups of a calibration table that have enough rows


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
    assert len(window.all(".plots svg")) == 2
    assert len(window.all(".chart polyline")) == 1
    for said in ("Seconds by stage", "nobody else: each reads its own at its node", "completed as agreed"):
        assert said in window.text
    for name in world.parties:
        assert f"{name} signed" in window.text


def test_the_calibration_curve_is_drawn(world: World, window: Browser, completed: str):
    """Each group of rows is a stroke at its share of positive ones, inside the axes, with what counts leave open."""
    window.open(f"{base(world)}/sessions/{completed}")
    (table,) = (model.figures.tables()["calibration"] for model in world.client.session(completed).models)
    assert check_calibration(window, table) > 0


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


def forget_verdict(window: Browser) -> None:
    """So that the next one is of the next file."""
    window.run("document.querySelector('#verdict').removeAttribute('data-verdict')")


def verdict(window: Browser) -> str:
    """The next thing that the audit page says of a file."""
    window.until("verdict", "document.querySelector('#verdict[data-verdict]') !== null")
    return window.one("#verdict").text


def judged(window: Browser, path: Path) -> str:
    """What the audit page says of a file that is chosen."""
    forget_verdict(window)
    window.one("#proof").send_keys(str(path))
    return verdict(window)


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


def dropped(window: Browser, path: Path) -> str:
    """What the audit page says of a file that is dragged onto it from outside, as a desktop does."""
    forget_verdict(window)
    place = "document.querySelector('#drop').getBoundingClientRect()"
    window.run("document.querySelector('#drop').scrollIntoView({block: 'center'})")
    x, y = window.run(f"const box = {place}; return [box.left + box.width / 2, box.top + box.height - 8]")
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        window.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    window.until("sign that it may be dropped", "document.querySelector('#drop').classList.contains('over')")
    window.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": "drop", "x": x, "y": y, "data": data})
    said = verdict(window)
    assert not window.run("return document.querySelector('#drop').classList.contains('over')")
    return said


def test_a_proof_is_dropped_on_the_page(world: World, window: Browser, proof: Path, tmp_path: Path):
    """A file that is dragged there is checked as one that was chosen, and the page stays; it is sent nowhere."""
    window.open(f"{base(world)}/audit")
    window.until("checker", "!document.querySelector('#drop').hidden")
    said = dropped(window, proof)
    assert "VERIFIED in this browser" in said
    assert "Entry 7 is in that log" in said
    altered = tmp_path / "altered.tlog-proof"
    altered.write_text(proof.read_text().replace("index 7", "index 6"))
    assert "NOT VERIFIED: entry 6 was written as entry 7" in dropped(window, altered)
    assert window.driver.current_url == f"{base(world)}/audit"
    asked = window.run("return performance.getEntriesByType('resource').map((each) => each.initiatorType)")
    assert not {"fetch", "xmlhttprequest", "beacon"} & set(asked)


def test_a_proof_from_the_page_is_checked_there(world: World, window: Browser, completed: str, tmp_path: Path):
    """A session is chosen, a proof of the gateway's log is saved, and that very file verifies here and offline."""
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    window.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    window.open(f"{base(world)}/audit")
    Select(window.one("#session")).select_by_value(completed)
    window.button("Show its entries").click()
    window.until("entries", "document.querySelector('a[download]') !== null")
    window.until("checker", "!document.querySelector('#drop').hidden")
    window.all("a[download]")[-1].click()
    until("the file", lambda: bool(list(tmp_path.glob("gateway-*.tlog-proof"))))
    (saved,) = tmp_path.glob("gateway-*.tlog-proof")
    said = dropped(window, saved)
    assert "VERIFIED in this browser" in said
    assert "session:run:completed" in said
    key = world.consortium.identities()["gateway"]
    assert privity("audit", "verify", saved, "--key", key).status == 0


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


def every_page(world: World, window: Browser, completed: str) -> Iterator[str]:
    """Open one page of the console after the other, each of its templates among them, and say which it is."""
    data = "&".join(f"data.{name}={name}:{name}" for name in world.parties)
    forms = (f"?{data}", f"?kind=matching&{data}", f"?kind=prediction&model={completed}", f"?like={completed}")
    own = (f"/sessions/{completed}", f"/sessions/{completed}/report", f"/audit?session={completed}")
    for place in (*PAGES, *(f"/propose{form}" for form in forms), *own, "/?find=nothing-is-so"):
        window.open(base(world) + place)
        yield place
    for place, said in ((f"/propose?like={completed}", "#toml"), (f"/propose?{data}", "#wrong")):
        window.open(base(world) + place)
        window.button("Check").click()
        window.until("answer", "document.querySelector(arguments[0]) !== null", said)
        yield f"{place}, checked"
    window.open(f"{base(world)}/tokens")
    window.fill("account", "looker")
    window.button("Make").click()
    window.until("token", "document.querySelector('#secret') !== null")
    yield "a token that was made"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_page_fits(world: World, window: Browser, completed: str, scheme: str, size: tuple[int, int]):
    """Nowhere a page that scrolls sideways, faint text, a field, table, picture or part without a name, or a heading
    out of order; Tab reaches all that can be used, and shows where it is."""
    window.size(*size)
    window.prefer(scheme)
    try:
        found = {
            place: [*faults(window), *(astray(window) if size is DESKTOP else ())]
            for place in every_page(world, window, completed)
        }
    finally:
        window.size(*DESKTOP)
        window.prefer("light")
    assert {place: wrong for place, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_refusals_fit(world: World, scheme: str):
    """So do those that say what is refused or not there, also without a login, and the last one."""
    with browser() as stranger:
        stranger.prefer(scheme)
        for size in (DESKTOP, PHONE):
            stranger.size(*size)
            stranger.open(f"{base(world)}/login?code=unknown")
            assert [*faults(stranger), *astray(stranger)] == []
            stranger.open(world.client.login())
            stranger.open(f"{base(world)}/sessions/{'0' * 64}")
            assert [*faults(stranger), *astray(stranger)] == []
            stranger.open(base(world))
            stranger.button("Log out").click()
            stranger.until("farewell", "document.querySelector('h1')?.textContent === 'Logged out'")
            assert [*faults(stranger), *astray(stranger)] == []


def test_what_is_wrong_with_a_page_is_found(world: World, window: Browser):
    """The looks can find fault: with what is spoilt on a page that has none."""
    window.open(f"{base(world)}/participants")
    assert faults(window) == astray(window) == []
    for spoil, said in (
        ("document.querySelector('main h2').outerHTML = '<h4>x</h4>'", "a step is left out"),
        ("document.querySelector('main').append(document.createElement('input'))", "no label"),
        ("document.querySelector('main').append(document.createElement('img'))", "a picture without words"),
        ("document.querySelector('main').append(document.createElement('button'))", "no name"),
        ("document.querySelector('main p').style.color = 'rgb(150, 150, 150)'", "faint"),
        ("document.querySelector('main p').style.width = '200vw'", "sideways"),
        ("document.querySelector('section').setAttribute('aria-labelledby', 'nothing')", "what is not there"),
        ("document.querySelector('caption').remove()", "no caption"),
    ):
        window.open(f"{base(world)}/participants")
        window.run(spoil)
        assert any(said in fault for fault in faults(window)), said
    for spoil, said in (
        ("for (const each of document.querySelectorAll('a')) each.style.outline = 'none'", "unseen"),
        ("document.querySelector('main a').tabIndex = -1", "not reached"),
    ):
        window.open(f"{base(world)}/participants")
        window.run(spoil)
        assert any(said in fault for fault in astray(window)), said
