"""Shares of models at rest: sealed, whole or absent, for as long as the contract says, and gone once deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from parties.agreement.plan import RetentionPlan
from parties.columns.preparation import Standardiser
from parties.data.vault_key import MasterKey
from parties.errors import VaultError
from parties.outcome.models import KeptModel, Models
from parties.process.job import ModelPart
from tests.parties.conftest import plain

STORED = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAYS = 30
WORDS = np.array([[1, -1, (1 << 63) - 1, -(1 << 63)]], dtype=np.int64).T


@pytest.fixture
def kept(paper) -> KeptModel:
    """A model of a contract that keeps it."""
    contract = paper.model_copy(update={"retention": RetentionPlan(model_days=DAYS)})
    standardiser = Standardiser(names=("age", "dose"), mean=(40.5, 0.1), deviation=(9.75, 1 / 3), clip=32.0)
    return KeptModel(
        contract=contract.canonical().decode(),
        stored=STORED,
        part=ModelPart.of(plain(*standardiser.names), standardiser, WORDS),
    )


@pytest.fixture
def key() -> MasterKey:
    return MasterKey.generate()


@pytest.fixture
def models(tmp_path, key) -> Models:
    return Models(tmp_path / "models", key)


def test_a_share_comes_back_bit_by_bit(models, kept):
    """Weights and preparation are those of the training, so that new rows are scored by the very same model."""
    session = kept.trained.digest
    models.store(session, kept)
    found = models.load(session)
    assert found == kept
    assert found.part.weights(1).tolist() == WORDS.tolist()
    assert models.list() == (session,)
    assert models.find(session[:8]) == session


def test_nothing_of_a_share_is_legible(tmp_path, models, kept):
    """The file holds no text of the model, is its owner's alone, and prints hide the share."""
    session = kept.trained.digest
    models.store(session, kept)
    (path,) = (tmp_path / "models").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(text in path.read_bytes() for text in (b"age", b"purpose", kept.part.share.encode()))
    assert kept.part.share not in repr(kept) + repr(kept.part)
    assert "40.5" not in repr(kept) + repr(kept.part)


def test_a_model_is_kept_once(models, kept):
    """What is kept is not replaced."""
    models.store(kept.trained.digest, kept)
    with pytest.raises(VaultError, match="kept already"):
        models.store(kept.trained.digest, kept)


@pytest.mark.parametrize("place", [0, 12, 500, -1])
def test_an_altered_file_is_refused(tmp_path, models, kept, place):
    """A flipped bit anywhere, the nonce included, is noticed before anything is parsed."""
    session = kept.trained.digest
    models.store(session, kept)
    path = tmp_path / "models" / f"{session}.model"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(VaultError, match="altered"):
        models.load(session)
    assert list(models.expired(STORED + timedelta(days=1000))) == []  # left for its operator


def test_a_share_is_bound_to_its_session_and_key(tmp_path, models, kept):
    """Under another session's name, or another vault's key, it does not open."""
    session, other = kept.trained.digest, "ab" * 32
    models.store(session, kept)
    path = tmp_path / "models" / f"{session}.model"
    with pytest.raises(VaultError, match="another vault key"):
        Models(tmp_path / "models", MasterKey.generate()).load(session)
    path.rename(path.with_name(f"{other}.model"))
    with pytest.raises(VaultError, match="altered"):
        models.load(other)


@pytest.mark.parametrize("session", ["", "..", "ab" * 32, "../vault", "AB" * 32])
def test_what_is_not_there_is_an_error(models, session):
    """No model of that id, or no id: one line that says so, at each of the acts."""
    for act in (models.load, models.delete, models.find):
        with pytest.raises(VaultError):
            act(session)


def test_a_deleted_share_is_gone(tmp_path, models, kept):
    """Its bytes are overwritten before its name goes."""
    session = kept.trained.digest
    models.store(session, kept)
    path = tmp_path / "models" / f"{session}.model"
    with path.open("rb") as still_open:
        models.delete(session)
        assert set(still_open.read()) == {0}
    assert models.list() == ()
    with pytest.raises(VaultError, match="no share of model"):
        models.load(session)


def test_a_model_s_time_is_the_contract_s(models, kept):
    """It is due once so many days have passed since it was stored, and not before."""
    session = kept.trained.digest
    models.store(session, kept)
    end = STORED + timedelta(days=DAYS)
    assert kept.expires == end
    assert list(models.expired(end - timedelta(seconds=1))) == []
    assert list(models.expired(end)) == [session]


@pytest.mark.parametrize("share", ["", "00", "0" * 15, "g" * 16, "0" * 17])
def test_a_share_is_whole_words(kept, share):
    """Nothing but 64-bit words in hexadecimal is a share."""
    with pytest.raises(ValidationError):
        ModelPart(encoding=kept.part.encoding, standardiser=kept.part.standardiser, share=share)
