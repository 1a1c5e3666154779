"""What a contract says of its costs: the engine's own figures, and a time that runs have kept to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpc import costs, prediction_costs
from mpc.frames import HEADER_BYTES
from mpc.partition import vertical
from mpc.prediction_program import PredictionSpec, derive_prediction
from mpc.reference_program import Reference
from mpc.requests import listed, waits
from parties.agreement.quote import ROUND_TRIP_S, quote, seconds
from parties.errors import ContractError
from tests.mpc.engine import program

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results.json"
WORKS = {
    "cancer-2p": ((15, 15), 569, {"solver": "newton", "max_iter": None}),
    "table-7000x54-2p": ((27, 27), 7000, {"solver": "newton", "max_iter": None}),
    "table-100000x100-2p": ((50, 50), 100_000, {"solver": "newton", "max_iter": None}),
    "gd-1000x1024-2p": (
        (500, 500),
        8192,
        {"solver": "sgd", "batch_rows": 1024, "learning_rate": "0.1", "max_iter": 800},
    ),
    "gd-100x128-2p": (
        (50, 50),
        12_800,
        {"solver": "sgd", "batch_rows": 128, "learning_rate": "0.1", "max_iter": 3000},
    ),
}


FOLDS = {"C": ("0.1", "1"), "folds": 3, "batch_rows": 20, "learning_rate": "0.1"}


def with_goodbye(usual):
    """Rounds and bytes of a run that ends with an empty frame to each peer."""
    frames = HEADER_BYTES * (len(usual.bytes_sent) - 1)
    return usual.rounds + 1, tuple(sent + frames for sent in usual.bytes_sent)


@pytest.mark.parametrize(
    ("solver", "changes"), [("newton", {"C": "0.1"}), ("nesterov", {"C": "0.1"}), ("sgd", FOLDS)], ids=str
)
def test_a_quote_is_what_the_engine_declares(solver, changes):
    """The usual run stays on the first rung; no other climbs more than the most that is quoted."""
    made = program((2, 3), 60, solver=solver, max_iter=40, **changes)
    found, usual = quote(made), costs.quote(made)
    assert (found.rounds, found.bytes_sent, found.dealer_bytes) == (*with_goodbye(usual), usual.dealer_bytes)
    assert found.requests.total == len(listed(made).phase) * len(made.segments)
    assert found.most_requests.total == len(listed(made).phase) * made.phases
    last = len(made.ladder) - 1
    for segment in range(len(made.segments)):
        climbed = costs.quote(
            made, [*[0] * (segment + 1), *range(1, last + 1), *[last] * (len(made.segments) - segment - 1)]
        )
        rounds, sent = with_goodbye(climbed)
        assert rounds <= found.most_rounds
        assert all(each <= most for each, most in zip(sent, found.most_bytes_sent, strict=True))
    assert found.most_rounds > found.rounds


@pytest.mark.parametrize("rows", [1, 70_000])
def test_a_prediction_s_quote_is_what_the_engine_declares(rows):
    """No prediction climbs a ladder: what it may cost at most is what it costs."""
    spec = PredictionSpec(
        rows=rows, parties=3, blocks=vertical(rows, (2, 0, 3)), fit_intercept=True, clip_bits=5, recipient=1
    )
    made = derive_prediction(spec)
    found, usual = quote(made), prediction_costs.quote(made)
    assert (found.rounds, found.bytes_sent, found.dealer_bytes) == (*with_goodbye(usual), usual.dealer_bytes)
    assert (found.most_rounds, found.most_bytes_sent) == (found.rounds, found.bytes_sent)
    assert found.requests == found.most_requests
    assert found.requests.total == len(listed(made).parts[0])
    assert found.memory_bytes == usual.memory_bytes
    waited = (usual.rounds / 2 + waits(made)) * ROUND_TRIP_S
    assert found.seconds >= seconds(made, usual) > waited


@pytest.mark.parametrize("name", WORKS)
def test_time_is_within_a_factor_of_two_of_recorded_runs(name):
    """On one machine, where messages take no time; with their start, which the benchmark tells apart."""
    columns, rows, changes = WORKS[name]
    made = program(columns, rows, **changes)
    (run,) = [each for each in json.loads(RESULTS.read_text()) if (each["work"], each["system"]) == (name, "privity")]
    took = run["seconds"] + run["startup_seconds"]
    assert took / 2 <= seconds(made, costs.quote(made), round_trip=0, bytes_a_second=1e12) <= took * 2


def test_the_reference_engine_has_no_quote():
    """It is for tests; a contract that names it is refused."""
    made = program((2, 3), 60, engine="reference", max_iter=40)
    assert isinstance(made, Reference)
    with pytest.raises(ContractError, match="no quote of the reference engine"):
        quote(made)
