"""The gateway's part in cosigning: it takes answers of those who joined, under the keys that joined, alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.coordination.cosigning import Cosigning, Members
from gateway.home import AUDIT_FILE, IDENTITY_FILE, init
from gateway.storage.store import Store
from parties.audit.events import HeadCosigned, HeadRefused, ServiceStarted
from parties.audit.log import AuditLog
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import PartnerError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.testimony.witness import Witness
from parties.testimony.witness_store import Heads

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)


class Bench:
    """A gateway's log, and a clinic that confirmed its key."""

    def __init__(self, directory):
        self.home = directory / "gateway"
        init(self.home)
        self.identity = Identity.load(self.home / IDENTITY_FILE)
        self.log = AuditLog.open(self.home / AUDIT_FILE, self.identity, "gateway", must_exist=True)
        self.store = Store.open(self.home)
        self.clinic = Identity.generate()
        with self.store.transaction() as rows:
            rows.invite("clinic-a", "party", "authority", NOW)
            rows.join("clinic-a", self.clinic.public.hex(), "ab" * 32, NOW)
        self.cosigning = Cosigning("gateway", self.home, self.identity, self.log, self.store)
        self.clinic_log = AuditLog.open(directory / "clinic.sqlite", self.clinic, "clinic-a")
        partners = Partners(directory / "partners.json")
        partners.add("gateway", self.identity.fingerprint)
        heads = Heads(directory / "state.sqlite")
        self.witness = Witness("clinic-a", self.clinic, self.clinic_log, partners, heads)

    def round(self):
        """The newest head to the clinic, and its answer back; how many of each."""
        offers = [offer for _, offer in self.cosigning.offers(["clinic-a"])]
        answers = [answer for offer in offers for answer in self.witness.hear(offer)]
        assert all(self.cosigning.concerns(answer) for answer in answers)
        for answer in answers:
            assert self.cosigning.hear("clinic-a", answer) == []
        return len(offers), len(answers)

    def entries(self, kind):
        return [entry.event for entry in take(self.log.path).entries() if isinstance(entry.event, kind)]

    def close(self):
        self.log.close()
        self.clinic_log.close()
        self.store.close()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_head_is_cosigned_once(bench):
    """The clinic cosigns, the gateway records and keeps that, and offers no more until its log has grown."""
    assert bench.round() == (1, 1)
    assert bench.round() == (0, 0)
    assert [event.by for event in bench.entries(HeadCosigned)] == ["clinic-a"]
    assert len(verify(bench.home).cosigned) == 1
    bench.log.append(ServiceStarted(role="gateway", version="1"))
    assert bench.round() == (1, 1)


def test_a_stranger_s_cosignature_is_not_kept(bench):
    """Whoever speaks with another key than the one that joined changes nothing."""
    (_, offer), *_ = bench.cosigning.offers(["clinic-a"])
    (answer,) = bench.witness.hear(offer)
    forged = answer.model_copy(update={"public_key": Identity.generate().public.hex()})
    assert bench.cosigning.hear("clinic-a", forged) == []
    assert bench.entries(HeadCosigned) == []
    with pytest.raises(PartnerError):
        Members(bench.store).check_key("clinic-b", bench.clinic.fingerprint)


def test_a_log_that_was_rolled_back_is_refused(bench, tmp_path):
    """Put back an older file, and the clinic refuses it, in both logs."""
    older = tmp_path / "older.sqlite"
    older.write_bytes(bench.log.path.read_bytes())
    bench.log.append(ServiceStarted(role="gateway", version="1"))
    bench.round()
    bench.log.close()
    bench.log.path.write_bytes(older.read_bytes())
    bench.log = AuditLog.open(bench.log.path, bench.identity, "gateway")
    bench.cosigning = Cosigning("gateway", bench.home, bench.identity, bench.log, bench.store)
    bench.round()
    assert [event.reason for event in bench.entries(HeadRefused)] == ["rollback"]
    assert verify(bench.home).failure.fault in {"rollback", "fork"}
