"""Batch predictions by real processes: a model that is kept in shares scores new rows for one party, and no other."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from parties.agreement.kinds import training
from parties.agreement.prediction import PredictionPlan
from parties.audit.snapshot import locate, take
from parties.columns.preparation import split
from parties.errors import GatewayError
from parties.service.lifecycle import State
from tests.e2e.world import ID, privity, tables

RECIPIENT = "org-0"
ROWS = 40
DATA = "new-rows"
TOLERANCE = 2e-3  # the model's distance from the optimum after its iterations, and a prediction's digits


@pytest.fixture(scope="module")
def trained(world):
    """A completed training, whose model lies in shares at three organisations."""
    view = world.train(world.plan)
    assert view.state == State.COMPLETED, view.fault
    return view.id


def test_links_are_measured_by_the_way(world, trained):
    """What a training's kernels saw of its connections, to each other and to the dealer, is in the next estimate."""
    assert trained
    found = world.client.estimate(world.plan)
    assert "round_trip_ms" in found.measured
    assert 0 < found.link.round_trip_ms < 1000
    assert found.seconds <= found.quote.seconds


def new_rows(world, name=DATA, shift=0, rows=ROWS):
    """Rows that nobody trained on, put into every vault: each party its columns, in an order of its own."""
    X, _ = tables("diabetes")
    generator = np.random.default_rng(11)
    fresh = X[generator.integers(0, len(X), rows)] + generator.normal(size=(rows, X.shape[1])) * X.std(axis=0) / 2
    for number, columns in enumerate(np.array_split(np.arange(X.shape[1]), len(world.parties))):
        order = np.random.default_rng(number).permutation(rows)
        held = {ID: [f"N{row + shift * (number == 1):03d}" for row in order]}
        held |= {f"x{column}": [repr(float(fresh[row, column])) for row in order] for column in columns}
        world.add(f"org-{number}", name, held)
    return fresh


@pytest.fixture(scope="module")
def fresh(world):
    return new_rows(world)


def plan(world, model, data=DATA, recipient=RECIPIENT, **changes):
    content = {
        "kind": "prediction",
        "purpose": "score new records",
        "model": model,
        "recipient": recipient,
        "dealer": world.plan.dealer,
        "parties": [{"name": name, "data": data} for name in world.parties],
    }
    return PredictionPlan.model_validate(content | changes)


@pytest.fixture(scope="module")
def predicted(world, trained, fresh):
    """A completed prediction of new rows."""
    assert len(fresh) == ROWS
    view = world.train(plan(world, trained))
    assert view.state == State.COMPLETED, view.fault
    return view


def events(world, name, session):
    found = [entry.event for entry in take(locate(world.directory / name)).entries()]
    return [event for event in found if session in {getattr(event, "session", None), getattr(event, "model", None)}]


def pooled(world, trained, fresh):
    """scikit-learn's probabilities, by the very rows that the session trained on."""
    contract = training(world.client.contract(trained))
    X, y = tables("diabetes")
    ids = [f"R{row:05d}" for row in range(len(X))]
    rows, _ = split(ids, contract.split_key, contract.split.held_out)
    scaler = StandardScaler().fit(X[rows])
    model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(scaler.transform(X[rows]), np.array(y)[rows] == "high")
    return model.predict_proba(scaler.transform(fresh))[:, 1]


def test_the_recipient_has_every_row_s_probability(world, trained, fresh, predicted):
    """As scikit-learn on the pooled table has them; at the recipient, in its own ids, and nowhere else."""
    shown = privity("result", "show", predicted.id, "--home", world.directory / RECIPIENT)
    heading, *rows = csv.reader(shown.out.splitlines())
    assert heading == [ID, "probability"]
    assert [record for record, _ in rows] == [f"N{row:03d}" for row in range(ROWS)]
    told = np.array([float(probability) for _, probability in rows])
    expected = pooled(world, trained, fresh)
    assert expected.std() > 0.1
    assert np.abs(told - expected).max() < TOLERANCE
    for name in world.parties[1:]:
        assert privity("result", "show", predicted.id, "--home", world.directory / name).status == 1


def test_results_are_exported_once(world, predicted, tmp_path):
    """`result export` writes what `result show` prints, to a new file alone."""
    home, file = world.directory / RECIPIENT, tmp_path / "told.csv"
    assert privity("result", "export", predicted.id[:12], "-o", file, "--home", home).status == 0
    assert file.read_text() == privity("result", "show", predicted.id, "--home", home).out
    assert privity("result", "export", predicted.id[:12], "-o", file, "--home", home).status == 1


def test_every_log_says_what_was_told_to_whom(world, trained, predicted):
    """Each party recorded the model's keeping and its use, and one disclosure, to the recipient."""
    for name in world.parties:
        kinds = [event.type for event in events(world, name, trained)]
        assert kinds.count("vault:model:stored") == 1
        assert kinds.count("vault:model:used") >= 1
        told = [event for event in events(world, name, predicted.id) if event.type == "session:disclosure:recorded"]
        assert [(event.name, event.recipients) for event in told] == [("probabilities", (f"party:{RECIPIENT}",))]
        stored = [event for event in events(world, name, predicted.id) if event.type == "session:result:stored"]
        assert bool(stored) == (name == RECIPIENT)


def test_the_gateway_shows_a_prediction(world, predicted):
    """Kind, progress by rows, the one disclosure; a figure or a loss is none of it."""
    assert predicted.kind == "prediction"
    assert predicted.models == ()
    assert all(item.progress.loss is None for item in predicted.participants if item.progress)
    contract = world.client.contract(predicted.id)
    assert [(item.name, item.recipient) for item in contract.disclosures] == [("probabilities", f"party:{RECIPIENT}")]
    token = world.directory / "gateway" / "token"
    shown = privity("session", "show", predicted.id, "--gateway", world.consortium.url, "--token-file", token)
    assert "completed, prediction: score new records" in shown.out


def test_models_are_listed_and_lie_sealed(world, trained):
    """Each node lists its share, whose file shows neither a column nor a purpose."""
    for name in world.parties:
        listed = privity("model", "list", "--home", world.directory / name)
        assert trained in listed.out
        content = (world.directory / name / "models" / f"{trained}.model").read_bytes()
        assert b"standardiser" not in content
        assert world.plan.purpose.encode() not in content


def test_a_record_is_found_in_its_sessions(world, trained, predicted, tmp_path):
    """A node tells which sessions one of its own records took part in; its log has the question, never the id."""
    home, file = world.directory / RECIPIENT, tmp_path / "id"
    answers = {}
    for record in ("R00007", "N007", "R99999"):
        file.write_text(record)
        told = privity("audit", "subject", "--file", file, "--json", "--home", home)
        assert told.status == 0, told.err
        answers[record] = {one["session"]: one["answer"] for one in json.loads(told.out)}
        assert record.encode() not in (home / "audit.sqlite").read_bytes()
    assert (answers["R00007"][trained], answers["R00007"][predicted.id]) == ("held", "not held")
    assert (answers["N007"][trained], answers["N007"][predicted.id]) == ("not held", "held")
    assert set(answers["R99999"].values()) == {"not held"}
    assert [event.type for event in events(world, RECIPIENT, trained)].count("vault:records:kept") == 1


REFUSED = {
    "an unknown model": (lambda world, _: plan(world, "ab" * 32), "no completed training has the id"),
    "a party less": (
        lambda world, model: plan(world, model, parties=[{"name": name, "data": DATA} for name in world.parties[:2]]),
        "the model lies at org-0, org-1, org-2",
    ),
    "other columns": (lambda world, model: plan(world, model, "others"), "has no column"),
}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_the_model_is_refused(world, trained, case):
    """The gateway says what does not fit, before anybody is asked."""
    make, what = REFUSED[case]
    if case == "other columns":
        for name in world.parties:
            world.add(name, "others", {ID: ["1", "2"], "y": ["0.5", "0.7"]})
    with pytest.raises(GatewayError, match=what):
        world.client.propose(make(world, trained))


def test_a_prediction_is_no_model(world, predicted):
    """The id of a prediction, which left none, is refused."""
    with pytest.raises(GatewayError, match="no completed training"):
        world.client.propose(plan(world, predicted.id))


def test_records_that_differ_end_the_session(world, trained):
    """Ids that are not the same everywhere: no probability is told, and nothing half-written stays."""
    new_rows(world, "shifted", shift=1)
    view = world.train(plan(world, trained, "shifted"))
    assert view.state == State.FAILED
    assert "are not the same" in view.fault.what
    assert not list((world.directory / RECIPIENT / "results").glob(f"{view.id}*"))


@pytest.mark.usefixtures("fresh")
def test_a_deleted_share_ends_predictions(world):
    """Once one party deleted its share it refuses, the log says so, and the others' shares are of no use."""
    view = world.train(world.plan)
    home = world.directory / "org-1"
    done = privity("model", "delete", view.id[:12], "--home", home)
    assert done.status == 0, done.err
    assert [event.by for event in events(world, "org-1", view.id) if event.type == "vault:model:deleted"] == [
        "operator"
    ]
    assert privity("model", "delete", view.id[:12], "--home", home).status == 1
    refused = world.ended(world.client.propose(plan(world, view.id)).id)  # by org-1 as soon as it reads the contract
    assert (refused.state, refused.fault.who) == (State.REFUSED, "org-1")
    assert "no share of model" in refused.fault.what


def test_a_plan_that_keeps_nothing_leaves_no_model(world):
    """`model_days = 0`: nothing is kept at any party, and the gateway refuses a prediction by it."""
    nothing = world.plan.model_copy(update={"retention": world.plan.retention.model_copy(update={"model_days": 0})})
    view = world.train(nothing)
    assert view.state == State.COMPLETED
    assert not any((world.directory / name / "models" / f"{view.id}.model").exists() for name in world.parties)
    with pytest.raises(GatewayError, match="left no model"):
        world.client.propose(plan(world, view.id))
