"""A result is held against the log: what was recorded at a session's end is what lies on disk, or it is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.audit.events import ResultStored
from parties.audit.snapshot import locate, take
from parties.errors import DataError, LifecycleError
from parties.outcome.predictions import Predictions
from parties.outcome.results import SALT, verify_result
from parties.process.job import Predicted
from tests.parties.page.conftest import Clinic

PREDICTED = "ab" * 32


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def trained(clinic) -> str:
    session = clinic.proposed()
    clinic.completed(session)
    return session


@pytest.fixture(scope="module")
def predicted(clinic) -> str:
    predictions = Predictions(clinic.home.path("results"))
    predictions.begin(PREDICTED, "patient", ("yes",))
    predictions.append(PREDICTED, Predicted(ids=("p1", "p2"), probabilities=((0.25,), (0.75,))))
    salted = predictions.finish(PREDICTED)
    clinic.node.journal.append(ResultStored(session=PREDICTED, name="probabilities", digest=salted))
    return PREDICTED


def entry_of(clinic, session):
    (entry,) = [
        entry
        for entry in take(locate(clinic.home.directory)).entries()
        if isinstance(entry.event, ResultStored) and entry.event.session == session
    ]
    return entry


@pytest.mark.parametrize("kind", ["trained", "predicted"])
def test_a_result_is_the_recorded_one(clinic, request, kind):
    """Content and salt together give the digest that the log has; the salt is its owner's alone."""
    session = request.getfixturevalue(kind)
    verified = verify_result(clinic.home, session[:12])
    assert verified.entry == entry_of(clinic, session).index
    assert verified.path.stem == session
    assert verified.path.with_suffix(SALT).stat().st_mode & 0o077 == 0
    said = CliRunner().invoke(app, ["result", "verify", session[:12], "--home", str(clinic.home.directory)])
    assert (said.exit_code, f"entry {verified.entry} of the log" in said.stdout.replace("\n", " ")) == (0, True)


@pytest.mark.parametrize("kind", ["trained", "predicted"])
@pytest.mark.parametrize("altered", ["content", SALT])
def test_an_altered_result_is_found(clinic, request, kind, altered):
    """One bit of a result, or of its salt, and it is not the recorded one; the error shows nothing of it."""
    session = request.getfixturevalue(kind)
    result = verify_result(clinic.home, session).path
    path = result if altered == "content" else result.with_suffix(SALT)
    kept = path.read_bytes()
    path.write_bytes(bytes([kept[0] ^ 1]) + kept[1:])
    try:
        with pytest.raises(DataError, match=f"not the result that entry {entry_of(clinic, session).index} of the log"):
            verify_result(clinic.home, session)
    finally:
        path.write_bytes(kept)
    assert verify_result(clinic.home, session).path == result


def test_what_can_not_be_told_is_said(clinic, trained):
    """No such result, several, one without its salt, one that the log does not have."""
    for beginning in ("", "00000000", "../"):
        with pytest.raises(LifecycleError, match="results begin with"):
            verify_result(clinic.home, beginning)
    result = verify_result(clinic.home, trained).path
    salt = result.with_suffix(SALT)
    kept = salt.read_bytes()
    salt.unlink()
    with pytest.raises(DataError, match="no salt beside"):
        verify_result(clinic.home, trained)
    salt.write_bytes(kept)
    stray = result.with_name(f"{'cd' * 32}.json")
    stray.write_bytes(result.read_bytes())
    stray.with_suffix(SALT).write_bytes(kept)
    with pytest.raises(DataError, match="not the result that the log has"):
        verify_result(clinic.home, "cd" * 32)
    stray.unlink()
