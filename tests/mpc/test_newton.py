"""The Newton program: derived within its bounds, right against scikit-learn, its cost as quoted, rejections unseen."""

import threading
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import root
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mpc import costs, fourier
from mpc.errors import ProgramError, RangeExceeded
from mpc.frames import HEADER_BYTES, decode_header
from mpc.fused_program import FirstOrder, Newton
from mpc.layouts import items, opening_items, tuple_number, used
from mpc.newton import Refresh
from mpc.newton_derivation import MOST_ITERATIONS
from mpc.openings import HALF_BITS, Slot
from mpc.program import derive
from mpc.simulation import Simulation, Wire
from mpc.training import train
from tests.contracts.played import evenly, make_spec
from tests.mpc.engine import labels_owner, own
from tests.mpc.optimum import TABLES, measure

RING_BITS = 64


def newton_spec(X, world=2, **changes):
    return make_spec(rows=len(X), columns=evenly(X.shape[1], world), solver="newton", **changes)


def run(program, X, y, wire=None):
    """Train in a simulation. Returns the weights, the intercept last, each party's fit and the simulation."""
    simulation = Simulation(program, wire=wire)
    fits = simulation.run(lambda runtime: train(program, *own(program, runtime.rank, X, y), runtime))
    intercept = fits[program.label_owners[0]].models[0].intercept
    weights = np.concatenate([fit.models[0].coefficients for fit in fits])
    return np.append(weights, 0.0 if intercept is None else intercept), fits, simulation


def pooled(X, y, C=1.0, **options):
    model = LogisticRegression(C=C, tol=1e-10, max_iter=20_000, **options).fit(X, y)
    return np.append(model.coef_[0], model.intercept_ if model.fit_intercept else 0.0)


def probabilities(X, weights):
    return 1 / (1 + np.exp(-(X @ weights[:-1] + weights[-1])))


@cache
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X).clip(-32, 32), y.astype(np.int64)


@cache
def small(rows=160, columns=5, seed=0):
    generator = np.random.default_rng(seed)
    X = StandardScaler().fit_transform(generator.normal(size=(rows, columns)) @ generator.normal(size=(columns,) * 2))
    y = (X @ generator.normal(size=columns) + generator.logistic(size=rows) > 0.3).astype(np.int64)
    return X, y


def assert_close(weights, X, y, C=1.0, **options):
    best = pooled(X, y, C, **options)
    assert np.linalg.norm(weights - best) < 5e-3 * np.linalg.norm(best)
    assert np.abs(probabilities(X, weights) - probabilities(X, best)).max() < 2e-3


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("intercept", [True, False])
def test_it_finds_the_pooled_optimum(world, intercept):
    """However the columns are divided, coefficients are those of scikit-learn on the pooled table."""
    X, y = small()
    weights, _, _ = run(derive(newton_spec(X, world, fit_intercept=intercept, label_owner=world - 1)), X, y)
    assert_close(weights, X, y, fit_intercept=intercept)


@pytest.mark.parametrize("world", [2, 3])
def test_rounded_steps_lead_to_the_same_model_at_their_own_cost(world):
    """Where a step's window would be too wide the inverse is rounded first: another round a step, quoted as such."""
    X, y = small()
    program = derive(newton_spec(X, world)).model_copy(update={"rounded_steps": True})
    weights, fits, simulation = run(program, X, y)
    assert_close(weights, X, y)
    quote = costs.quote(program)
    assert (fits[0].rounds, fits[0].bytes_sent) == (quote.rounds, quote.bytes_sent[0])
    assert simulation.dealing.bytes_sent == quote.dealer_bytes


def test_wide_tables_have_rounded_steps_and_narrow_ones_not():
    """The round is spent only where the bits of the ring ask for it."""
    assert not derive(make_spec(rows=5000, columns=evenly(100, 2))).rounded_steps
    assert derive(make_spec(rows=5000, columns=evenly(256, 2))).rounded_steps


@pytest.mark.parametrize("columns", [(5, 0), (0, 5), (1, 3, 1)])
def test_a_party_may_bring_no_column(columns):
    """Blocks of any width, empty ones included, make the same model."""
    X, y = small()
    program = derive(make_spec(rows=len(X), columns=columns, label_owner=labels_owner(columns), solver="newton"))
    weights, _, _ = run(program, X, y)
    assert_close(weights, X, y)


@pytest.mark.parametrize("C", ["0.01", "1.0", "37.5"])
def test_the_penalty_is_exactly_the_stated_one(C):
    """The objective is scikit-learn's at any C: what multiplies the penalty loses no digits of it."""
    X, y = small()
    weights, _, _ = run(derive(newton_spec(X, C=C)), X, y)
    assert_close(weights, X, y, float(C))


@pytest.mark.parametrize("C", ["0.0005", "0.005"])
def test_a_strong_penalty_does_not_hold_the_intercept_back(C):
    """A dozen iterations find the intercept of rare labels, which bears no penalty, however strong that is."""
    X, _ = small()
    y = (np.arange(len(X)) % 10 == 0).astype(np.int64)
    weights, _, _ = run(derive(newton_spec(X, C=C, max_iter=12)), X, y)
    assert np.abs(weights - pooled(X, y, float(C))).max() < 5e-3


@pytest.mark.parametrize("C", ["0.1", "1.0", "10"])
def test_more_columns_than_rows(C):
    """Where the penalty alone determines the model, it is the pooled optimum all the same."""
    X = StandardScaler().fit_transform(np.random.default_rng(5).normal(size=(20, 40)))
    y = (np.arange(20) % 2).astype(np.int64)
    weights, _, _ = run(derive(newton_spec(X, C=C)), X, y)
    assert_close(weights, X, y, float(C))


@pytest.mark.parametrize("zeros", [[1], [1, 3], [0, 1, 2, 3]], ids=len)
def test_columns_of_zeros_do_no_harm(zeros):
    """A column without any value has no weight, and the others those of a table without it."""
    X, y = small(columns=4)
    X = X.copy()
    X[:, zeros] = 0
    weights, _, _ = run(derive(newton_spec(X)), X, y)
    assert (weights[zeros] == 0).all()
    assert_close(weights, X, y)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_labels_of_one_class(label, fit_intercept):
    """Without an intercept there is an optimum, and it is found; with one, which nothing holds back, every row is all
    but certainly of that class by the intercept alone.
    """
    X = small()[0] + (0 if fit_intercept else 0.5)  # without one, centred columns can't tell a class at all
    weights, _, _ = run(derive(newton_spec(X, fit_intercept=fit_intercept)), X, np.full(len(X), label))
    if fit_intercept:
        assert np.abs(probabilities(X, weights) - label).max() < 5e-3
        assert np.abs(weights[:-1]).max() < 0.05
    else:
        best = root(lambda w: X.T @ (probabilities(X, np.append(w, 0)) - label) + w, np.zeros(X.shape[1]), tol=1e-12).x
        assert np.linalg.norm(weights[:-1] - best) < 5e-3 * np.linalg.norm(best)


@pytest.mark.parametrize(("C", "limit"), [(1.0, 5e-4), (100.0, 3e-3)])
@pytest.mark.parametrize("name", TABLES)
def test_real_tables_within_the_promised_tolerance(name, C, limit):
    """Nearly separable, rare, wide: the planned iterations reach the optimum, and its coefficients where the table
    determines them. Columns that are exactly redundant leave that to the penalty, and so to the table's rounding.
    One run in hundreds misses a refresh (NEWTON.md); two in a row do not.
    """
    outcomes = (measure(*TABLES[name](), C, "newton", 2) for _ in range(2))
    assert any(
        outcome.probabilities < limit and (outcome.coefficients < 5e-3 or (C > 1 and name in {"rare", "wide"}))
        for outcome in outcomes
    )


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("loss_every", [0, 4])
def test_a_run_costs_what_was_quoted(world, loss_every):
    """Rounds, each party's bytes and the dealer's are those of the quote, to the byte."""
    X, y = small()
    program = derive(newton_spec(X, world, loss_every=loss_every))
    _, fits, simulation = run(program, X, y)
    quote = costs.quote(program)
    assert {fit.rounds for fit in fits} == {quote.rounds}
    assert tuple(fit.bytes_sent for fit in fits) == quote.bytes_sent
    assert simulation.dealing.bytes_sent == quote.dealer_bytes


def test_a_climb_of_the_ladder_costs_what_was_quoted():
    """A pass outside the first rung's range is repeated on the next, from the start and the first inverse."""
    X, y = cancer()
    program = derive(newton_spec(X, C="100"))
    _, fits, simulation = run(program, X, y)
    (top,) = fits[0].rungs
    assert top in {1, 2}
    quote = costs.quote(program, list(range(top + 1)))
    assert fits[0].rounds == quote.rounds
    assert tuple(fit.bytes_sent for fit in fits) == quote.bytes_sent
    assert simulation.dealing.bytes_sent == quote.dealer_bytes


def test_separable_data_ends_with_a_clear_error():
    """When even the last rung is too narrow, the run ends and says what to do."""
    X = StandardScaler().fit_transform(np.linspace(-1, 1, 40)[:, None] ** 3 + [[0.0, 0.0]])
    y = (np.arange(40) >= 20).astype(np.int64)
    program = derive(newton_spec(X, C="100000"))
    narrow = program.model_copy(update={"ladder": (program.ladder[0].model_copy(update={"period": 32}),)})
    with pytest.raises(RangeExceeded, match="smaller C"):
        run(narrow, X, y)


@pytest.mark.parametrize("changes", [{"density_window": 62}, {"inverse_window": 57}])
def test_rejections_are_seen_by_nobody(changes):
    """With every refresh or many steps rejected, rounds and bytes are the same and the optimum is still reached."""
    X, y = small()
    program = derive(newton_spec(X, max_iter=40)).model_copy(update=changes)
    weights, fits, simulation = run(program, X, y)
    progress = [(each.iteration, each.rounds) for each in simulation.progress]
    _, _, plain = run(derive(newton_spec(X, max_iter=40)), X, y)
    assert progress == [(each.iteration, each.rounds) for each in plain.progress]
    assert fits[0].bytes_sent == costs.quote(program).bytes_sent[0]
    assert simulation.dealing.bytes_sent == plain.dealing.bytes_sent
    assert_close(weights, X, y)


def test_only_the_last_loss_is_told():
    """It is the mean training loss of the pooled table; one on the way would show where openings were rejected."""
    X, y = small()
    _, fits, _ = run(derive(newton_spec(X, loss_every=1)), X, y)
    p = probabilities(X, pooled(X, y))
    best = -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))
    assert {fit.models[0].losses for fit in fits} == {fits[0].models[0].losses}
    assert len(fits[0].models[0].losses) == 1
    assert abs(fits[0].models[0].losses[-1] - best) < 1e-3


def test_opened_words_are_uniform():
    """Every word that a party sends to open a matrix, a density or scaled rows looks drawn from the whole ring."""
    seen = {}

    def tap(frame):
        header = decode_header(frame[:HEADER_BYTES])
        if header.dtype == "i8":
            seen.setdefault(header.name, []).append(np.frombuffer(frame[HEADER_BYTES:], dtype="<u8"))

    X, y = small()
    run(derive(newton_spec(X)), X, y, Wire(between_parties=tap))
    for name in ("density", "rows", "information", "inverse", "product", "gradient"):
        found = np.concatenate(seen[name])
        for bit in range(RING_BITS):
            share = np.mean((found >> np.uint64(bit)) & np.uint64(1))
            assert abs(share - 0.5) < 6 * 0.5 / np.sqrt(found.size), (name, bit)


SHAPES = st.tuples(st.integers(8, 1 << 21), st.integers(2, 256), st.sampled_from(["0.01", "1.0", "100"]))


@given(SHAPES)
@settings(max_examples=60)
def test_derived_windows_hold_their_headroom(shape):
    """Whatever is derived keeps every opening below the ring and its rejections rare, or is refused with a reason."""
    rows, columns, C = shape
    try:
        program = derive(make_spec(rows=rows, columns=evenly(columns, 2), C=C, solver="newton"))
    except ProgramError as refusal:
        assert refusal.action  # noqa: PT017 - a refusal is right as well
        return
    d, half = program.width, program.width * (program.width + 1) // 2
    slot = ((program.state_window, d), (program.residual_window, rows), (program.gradient_window, d))
    step = ((program.inverse_window, 0 if program.rounded_steps else half), (program.product_window, d * d))
    assert sum(entries * 2.0 ** (window - RING_BITS) for window, entries in slot) < 0.012
    assert sum(entries * 2.0 ** (window - RING_BITS) for window, entries in step) < 0.04
    shifts = (program.gradient_shift, program.information_shift, program.product_shift, program.residual_shift)
    assert min(shifts) >= 1
    assert program.gradient_shift < program.gradient_window
    assert max(program.information_shift, program.inverse_shift, program.inverse_window) <= HALF_BITS
    assert type(program).model_validate_json(program.model_dump_json()) == program


@pytest.mark.parametrize(
    ("rows", "columns", "C", "weaker"),
    [(100, 256, "10000", "100000"), (5000, 5, "10000", "100000"), (1 << 20, 5, "100", "1000")],
)
def test_a_penalty_too_weak_for_its_integer_is_refused(rows, columns, C, weaker):
    """What multiplies the penalty keeps four bits at least: a weaker one is refused by its name, alone or in a grid."""
    facts = {"rows": rows, "columns": evenly(columns, 2)}
    for model in derive(make_spec(**facts, C=C, solver="newton")).models:
        assert model.ridge >= 16
    for strengths in (weaker, ("0.1", weaker)):
        with pytest.raises(ProgramError, match=f"C={weaker} is too weak a penalty for {rows} rows") as caught:
            derive(make_spec(**facts, C=strengths, solver="newton"))
        assert "smaller C" in caught.value.action


def test_the_solver_follows_from_the_facts():
    """Newton unless it is too large, too many iterations are asked for, or the plan says otherwise."""
    wide = {"rows": 5000, "columns": evenly(400, 2)}
    assert isinstance(derive(make_spec()), Newton)
    assert derive(make_spec()).max_iter == 15
    assert derive(make_spec(C="100")).max_iter == 41
    assert isinstance(derive(make_spec(solver="nesterov")), FirstOrder)
    assert isinstance(derive(make_spec(max_iter=MOST_ITERATIONS + 1)), FirstOrder)
    assert derive(make_spec(**wide)).max_iter == 300
    for refused in ({"max_iter": MOST_ITERATIONS + 1}, wide):
        with pytest.raises(ProgramError, match="Newton"):
            derive(make_spec(solver="newton", **refused))


@pytest.mark.parametrize("rounded", [True, False])
def test_each_tuple_builds_on_the_last_matrix_of_its_phase(rounded):
    """Steps use the information matrix before them, advances the inverse before them, at first that of the start."""
    program = derive(make_spec(loss_every=3)).model_copy(update={"rounded_steps": rounded})
    kinds = items(program, program.segments[0])
    start = opening_items(program)
    for phase, listed in ((0, start), (1, kinds), (2, kinds)):
        latest = {
            kind: len(start) - 1 - start[::-1].index(kind) if phase else None for kind in ("information", "inverse")
        }
        for place, kind in enumerate(listed):
            number = tuple_number(phase, place)
            wanted = {"step": ["information"], "product": ["information", "inverse"], "advance": ["inverse"]}
            assert used(program, listed, number) == tuple(latest[each] for each in wanted.get(kind, []))
            if kind in latest:
                latest[kind] = number


def test_refreshes_follow_the_plan():
    """The schedule holds one refresh every so many slots, between a slot's gradient and its step, none at the end."""
    program = derive(make_spec(max_iter=30))
    segment = program.segments[0]
    kinds = items(program, segment)
    assert kinds.count("slot") == kinds.count("advance") == segment.slots
    refreshed = [slot for slot in range(1, segment.slots + 1) if program.refreshes(slot)]
    assert refreshed == [4, 7, 10, 13, 16]
    assert kinds.count("density") == len(refreshed)
    assert kinds.count("step") == len(refreshed) * program.refresh_steps
    for place, kind in enumerate(kinds):
        if kind == "density":
            assert kinds[place - 2 : place] == ("slot", "tables")


@pytest.mark.parametrize(("period", "harmonics"), [(128, 32), (256, 64), (512, 128)])
def test_the_density_and_its_floor(period, harmonics):
    """The cosines give p (1 - p) to the stated floor, which keeps the sum an upper bound within the range."""
    scale = 2.0**fourier.COEFFICIENT_BITS
    z = np.linspace(-fourier.bound(period), fourier.bound(period), 4001)
    k = np.arange(1, 2 * harmonics, 2)
    found = np.cos(2 * np.pi * np.outer(z, k) / period) @ (
        np.array(fourier.density_coefficients(period, harmonics)) / scale
    )
    p = 1 / (1 + np.exp(-z))
    floor = fourier.density_floor(period, harmonics) / scale
    neighbours = 2 * np.exp(-fourier.MARGIN)
    assert 5e-5 < floor < 2e-4
    assert np.abs(found - p * (1 - p)).max() < floor + neighbours


@pytest.mark.parametrize(("name", "void"), [("weights", True), ("residuals", False), ("gradient", False)])
def test_only_a_rejected_iterate_costs_a_refresh(name, void, monkeypatch):
    """What is rejected after the scores moves no iterate, but p (1 - p) is what it is, and so is the inverse."""
    X, y = small()
    program = derive(newton_spec(X))
    refreshing = next(slot for slot in range(1, 99) if program.refreshes(slot))
    truncating, of_strips = Slot.truncating, Refresh.of_strips
    opened, refreshes = Counter(), {}

    def rejected(slot, opening, *rest):
        found = truncating(slot, opening, *rest)
        opened[threading.get_ident(), opening] += 1
        slot.void |= opening == name and opened[threading.get_ident(), opening] == refreshing
        return found

    def begun(program, before, *, void):
        refreshes.setdefault(threading.get_ident(), []).append(void)
        return of_strips(program, before, void=void)

    monkeypatch.setattr(Slot, "truncating", rejected)
    monkeypatch.setattr(Refresh, "of_strips", begun)
    weights, _, _ = run(program, X, y)
    assert [first for first, *_ in refreshes.values()] == [void] * program.world
    assert_close(weights, X, y)
