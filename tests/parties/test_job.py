"""A job goes to its worker whole, shows its secrets to nobody else, and reports are of a closed set."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import SecretStr, ValidationError

from parties.columns.preparation import OriginalUnits
from parties.process.job import (
    REPORT,
    Advanced,
    Answer,
    Broken,
    DealerJob,
    Done,
    Intent,
    Job,
    Matched,
    Outcome,
    OwnModel,
    PartyJob,
    RefusedFrame,
    TlsMaterial,
    job_line,
    parse_job,
)
from parties.service.messages import Figures, ToldModel

KEY, DATA_KEY = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----\n", "5e" * 32
OUTCOME = Outcome(
    columns=("age",),
    models=(
        OwnModel(
            C="1.0",
            positive="yes",
            standardised=(0.123456,),
            original=OriginalUnits(names=("age",), coefficients=(0.0654321,), offset=-3.14159),
            intercept=-0.271828,
            losses=(0.69, 0.5),
        ),
    ),
)


@pytest.fixture
def job(consortium) -> PartyJob:
    return PartyJob(
        name="clinic-a",
        contract=consortium.contract.canonical().decode(),
        approvals={name: consortium.approval(name) for name in consortium.identities},
        epoch=1,
        tls=TlsMaterial(key_pem=SecretStr(KEY), certificate=consortium.keys["clinic-a"].certificate),
        data_key=SecretStr(DATA_KEY),
        manifest="{}",
        data_path="/vault/cohort.sealed",
        inbox_fd=7,
    )


def test_where_a_recording_goes_is_a_secret_that_survives(job):
    """The seed and the key of a recording go to the worker as the data key does, and show nowhere."""
    asked = job.model_copy(update={"recording": SecretStr('{"seed":"not to be seen"}')})
    found = parse_job(job_line(asked))
    assert found.recording.get_secret_value() == '{"seed":"not to be seen"}'
    assert "not to be seen" not in repr(asked)


def test_a_job_is_one_line_that_survives(job):
    """Everything, secrets included, comes out at the worker as it went in, and nothing in it ends the line early."""
    line = job_line(job)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_job(line) == job
    assert parse_job(line).data_key.get_secret_value() == DATA_KEY
    assert parse_job(line).tls.key_pem.get_secret_value() == KEY


def test_a_dealer_s_job_survives(job):
    """The dealer's process is told what every process of a session is, and nothing of data."""
    told = {name: getattr(job, name) for name in Job.model_fields}
    dealer = DealerJob(**told | {"name": "dealer"})
    assert parse_job(job_line(dealer)) == dealer
    assert parse_job(job_line(dealer)).tls.key_pem.get_secret_value() == KEY
    assert set(DealerJob.model_fields) == {"role", "name", "contract", "approvals", "epoch", "tls", "inbox_fd"}
    assert "MIGHAgEAMBMG" not in repr(dealer)


@pytest.mark.parametrize("show", [repr, str, lambda job: job.model_dump_json(), lambda job: str(job.model_dump())])
def test_a_job_shows_no_secret(job, show):
    """Neither the TLS key nor the data key stands in what is printed, logged or dumped by mistake."""
    shown = show(job)
    assert "clinic-a" in shown
    assert DATA_KEY not in shown
    assert "MIGHAgEAMBMG" not in shown


def test_a_job_has_no_identity_key(job):
    """The identity key never enters a worker: there is no field for one."""
    assert not {name for name in PartyJob.model_fields if "identity" in name or "vault" in name}
    assert "Ed25519" not in job_line(job).decode()


@pytest.mark.parametrize("line", [b"", b"\n", b"!!!\n", b"e30=\n", base64.b64encode(b'{"role": "witness"}')])
def test_what_is_no_job_is_refused(line):
    """A worker that was started with nonsense does not begin."""
    with pytest.raises(ValueError):  # noqa: PT011 - any: the worker names its type alone
        parse_job(line)


REPORTS = [
    Intent(name="coefficients", recipient="party:clinic-a", values=3),
    Matched(rows=400, training_rows=300),
    Advanced(iteration=1, of=20, rounds=3, bytes_sent=100, loss=0.5),
    Done(outcome=OUTCOME, transcript="ab" * 32, openings=3, words=9, rounds=3, bytes_sent=100, seconds=1.5),
    Done(outcome=OUTCOME, models=(ToldModel(C="1.0", positive="yes", figures=Figures(auc=0.5)),)),
    Broken(code="data", what="no", action="", outward="no"),
    Broken(
        code="engine.protocol",
        what="no",
        action="",
        outward="no",
        who="clinic-b",
        refused=RefusedFrame(name="x", shape=(1, (1 << 64) - 1), expected="y"),
        differing=(0, 2),
        transcript="ab" * 32,
    ),
]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.type)
def test_a_report_survives(report):
    """What a worker says, the node hears, to the last bit of a coefficient."""
    assert REPORT.validate_json(report.model_dump_json()) == report


BAD = {
    "an answer": Answer().model_dump_json(),
    "an unknown key": '{"type": "matched", "rows": 1, "training_rows": 1, "ids": ["p1"]}',
    "an intent without end": json.dumps({"type": "intent", "name": "x" * 81, "recipient": "session", "values": 1}),
    "an intent of nothing": json.dumps({"type": "intent", "name": "loss", "recipient": "session", "values": 0}),
    "an intent to somebody else": json.dumps({"type": "intent", "name": "loss", "recipient": "world", "values": 1}),
    "a transcript that is none": json.dumps({"type": "done", "transcript": "abc"}),
    "a count below zero": json.dumps({"type": "matched", "rows": -1, "training_rows": 0}),
    "a loss that is no number": REPORTS[2].model_dump_json().replace('"loss":0.5', '"loss":NaN'),
    "a code that is none": json.dumps({"type": "broken", "code": "A B", "what": "", "action": "", "outward": ""}),
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_what_is_no_report_is_refused(line):
    """A node believes no worker that says something else."""
    with pytest.raises(ValidationError):
        REPORT.validate_json(line)


def test_a_printed_outcome_keeps_its_values():
    """A party's own result is in its file, and in no log by mistake."""
    done = Done(outcome=OUTCOME)
    for shown in (repr(OUTCOME), str(done)):
        for value in ("0.123456", "0.0654321", "3.14159", "0.271828", "'age'"):
            assert value not in shown


def test_others_hear_the_outward_sentence_only():
    """What leaves the organisation is the sentence made for it, under the name of who caused it."""
    broken = Broken(code="data", what="row 17 is damaged", action="mend it", outward="the data are damaged")
    fault = broken.fault("clinic-a", ("clinic-a", "clinic-b", "dealer"))
    assert (fault.who, fault.what) == ("clinic-a", "the data are damaged")
    assert "17" not in fault.line()
    for who, blamed in (("clinic-b", "clinic-b"), ("", "clinic-a"), ("somebody else", "clinic-a")):
        lost = broken.model_copy(update={"who": who})
        assert lost.fault("clinic-a", ("clinic-a", "clinic-b", "dealer")).who == blamed


def test_a_job_does_not_change(job):
    """What the daemon decided stays as it was."""
    with pytest.raises(ValidationError):
        job.epoch = 2
