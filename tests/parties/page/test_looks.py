"""The node's own pages in a real browser: each is read by everybody, by keyboard, in light and dark, on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpc.curves import Points
from parties.agreement.plan import RetentionPlan
from tests.browser import DESKTOP, PHONE, Browser, browser, needs_chromium
from tests.e2e.looks import astray, check_calibration, faults
from tests.parties.page.conftest import Clinic

pytestmark = needs_chromium


def every_page(clinic: Clinic, window: Browser) -> Iterator[str]:
    """Open one page after the other, each of the templates among them, and say which it is."""
    waiting, ended = clinic.proposed(), clinic.proposed(purpose="what is over", retention=RetentionPlan(model_days=30))
    clinic.keep_share(clinic.agreed(ended))
    clinic.completed(ended)
    prediction, matching = clinic.prediction().digest, clinic.matching().digest
    window.open(clinic.link())
    base = window.driver.current_url.rstrip("/")
    sessions = (waiting, ended, prediction, matching)
    places = ["/", "/audit", "/audit?kind=session:contract:received", "/subject", f"/sessions/{'0' * 64}"]
    places += [f"/sessions/{session}" for session in sessions]
    places += [f"/sessions/{session}/decide" for session in (waiting, prediction, matching, ended)]
    places += [f"/sessions/{ended}/{page}" for page in ("withdraw", "recording", "report")]
    for place in places:
        window.open(base + place)
        yield place
    window.open(f"{base}/audit")
    window.button("Verify").click()
    window.until("verdict", "document.querySelector('main').textContent.includes('Verified at')")
    yield "a log that was verified"
    window.open(f"{base}/subject")
    window.fill("record", "patient-1")
    window.one("main button").click()
    window.until("answer", "document.querySelector('main').textContent.includes('session')")
    yield "a record that was looked for"
    window.button("Log out").click()
    window.until("farewell", "document.querySelector('main').textContent.includes('logged out')")
    yield "a login that ended"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_page_fits(clinic: Clinic, scheme: str, size: tuple[int, int]):
    """No page scrolls sideways, is faint, or has a part without a name; Tab reaches all, and shows where it is."""
    with browser() as window:
        window.size(*size)
        window.prefer(scheme)
        found = {
            place: [*faults(window), *(astray(window) if size is DESKTOP else ())]
            for place in every_page(clinic, window)
        }
        window.look_back()
    assert {place: wrong for place, wrong in found.items() if wrong} == {}
    assert window.hosts == {"127.0.0.1"}


def test_the_calibration_curve_is_drawn(clinic: Clinic):
    """Four groups of rows, each at its share of positive ones: the picture is the table."""
    table = Points(
        thresholds=(2.0, 0.0, -2.0),
        positives=((40, 42), (70, 72), (80, 82), (85, 87)),
        negatives=((5, 7), (20, 22), (60, 62), (110, 112)),
    )
    session = clinic.proposed()
    clinic.completed(session, table)
    with browser() as window:
        window.open(clinic.link())
        window.open(f"{window.driver.current_url.rstrip('/')}/sessions/{session}")
        assert check_calibration(window, table) == 4
