"""The audit page's own verification, in a real browser, beside the command line's: the same verdict on every file."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.client import Gateway
from parties.audit.events import InvitationMade
from parties.audit.log import FILE_NAME, AuditLog
from parties.audit.notes import cosign, parse_note
from parties.audit.proof import parse, prove
from parties.audit.verdict import Found
from parties.errors import AuditError
from parties.keys.identity import Identity, fingerprint
from parties.service.messages import Head
from tests.browser import Browser, browser, needs_chromium
from tests.gateway.conftest import House

pytestmark = needs_chromium
ENTRIES = 37
ALTERED = 120

JUDGE = """
const verify = await import('/static/verify.js');
const verdicts = [];
for (const text of given[0]) {
  try {
    await verify.checkProof(await verify.parseProof(text));
    verdicts.push(true);
  } catch (error) {
    if (!(error instanceof verify.Wrong)) throw error;
    verdicts.push(false);
  }
}
return verdicts;
"""


def judged(page: Browser, proofs: list[str]) -> list[bool]:
    """The browser's verdicts."""
    found: list[bool] = page.run_async(JUDGE, proofs)
    return found


def holds(text: str) -> bool:
    """The command line's verdict."""
    try:
        parse(text).check()
    except (AuditError, Found):
        return False
    return True


@pytest.fixture
def page(client: Gateway) -> Browser:
    with browser() as made:
        yield made.open(client.login())


def proofs(directory: Path, identity: Identity) -> list[str]:
    """Of every entry of a log, by its newest head."""
    path = directory / FILE_NAME
    with AuditLog.open(path, identity, "clinic-a") as log:
        for number in range(ENTRIES):
            log.append(InvitationMade(name=f"clinic-{number}"))
    return [prove(path, index).render() for index in range(ENTRIES)]


@pytest.mark.usefixtures("gateway")
def test_browser_and_command_line_agree_on_proofs(page: Browser, tmp_path: Path):
    """Every proof holds in both; of proofs with a letter changed, dropped or doubled none holds in one alone."""
    whole = proofs(tmp_path, Identity.generate())
    assert judged(page, whole) == [True] * ENTRIES
    altered = []
    for _ in range(ALTERED):
        text = secrets.choice(whole)
        at, letter = secrets.randbelow(len(text)), secrets.choice("AZaz09+/= \n—.\x00")
        altered.append(text[:at] + secrets.choice([letter, "", text[at] + letter]) + text[at + 1 :])
    altered += [whole[3].replace("index 3", "index 4"), whole[3] + "\n", "", "c2sp.org/tlog-proof@v1\n", whole[3][:-1]]
    expected = [holds(text) for text in altered]
    assert judged(page, altered) == expected
    assert not all(expected)


@pytest.mark.usefixtures("gateway")
def test_browser_and_command_line_agree_on_signatures(page: Browser, tmp_path: Path):
    """A head's signature, a partner's cosignature with its time, and fingerprints; another key's are none."""
    owner, partner, stranger = (Identity.generate() for _ in range(3))
    text = proofs(tmp_path, owner)[0]
    note = parse(text).note
    moment = datetime(2026, 11, 27, 12, 30, 5, tzinfo=UTC)
    cosigned = note.with_signatures(cosign(note.text, "clinic-b", partner, moment)).render()
    assert parse_note(cosigned).cosigned_by("clinic-b", partner.public) == moment
    found = page.run_async(
        """
        const verify = await import('/static/verify.js');
        const note = verify.parseNote(given[0]);
        const [owner, partner, stranger] = given[1].map(verify.fromHex);
        const when = async (name, key) => (await verify.cosignedBy(note, name, key))?.toISOString() ?? null;
        return {
          signed: await Promise.all([owner, stranger].map((key) => verify.isSignedBy(note, 'clinic-a', key))),
          times: [await when('clinic-b', partner), await when('clinic-b', owner), await when('clinic-c', partner)],
          prints: await Promise.all([owner, partner].map(verify.fingerprint)),
        };
        """,
        cosigned,
        [each.public.hex() for each in (owner, partner, stranger)],
    )
    assert found["signed"] == [True, False]
    assert found["times"] == ["2026-11-27T12:30:05.000Z", None, None]
    assert found["prints"] == [fingerprint(owner.public), fingerprint(partner.public)]


def test_a_log_that_was_written_anew_is_said_so(gateway: House, page: Browser):
    """Two heads of one size and different roots: the page says the one thing that matters."""
    clinic = gateway.joined("clinic-a")
    heads = []
    for name in ("one", "two"):
        with AuditLog.open(gateway.home / f"{name}.sqlite", clinic.identity, "clinic-a") as log:
            log.append(InvitationMade(name=name))
            heads.append(log.head())
    clinic.say(Head(note=heads[0])).settled()
    page.open(f"{gateway.serving.url}/audit")
    page.until("verdict", "document.querySelector('[data-log=clinic-a] [data-verdict=verified]') !== null")
    file = gateway.home / "head.txt"
    file.write_text(heads[1], encoding="utf-8")
    page.one("#proof").send_keys(str(file))
    page.until("verdict", "document.querySelector('#verdict[data-verdict=wrong]') !== null")
    assert "its head differs from the one shown here over 2 entries: the log was forked" in page.one("#verdict").text
