"""Partitions: blocks tile the table exactly once or are refused; products are exact whoever owns which entry."""

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mpc import costs
from mpc.design import Opening
from mpc.disclosure import ProgramLedger
from mpc.errors import ProgramError
from mpc.openings import Masked, Truncated
from mpc.partition import Block, LabelRows, horizontal, labels_of, labels_with, vertical
from mpc.ring import encode, product
from mpc.scales import DATA_BITS
from mpc.shares import words
from mpc.training import check_input
from tests.mpc.engine import fit, joined, own, seeds, session, table, uniform
from tests.mpc.tilings import KINDS, derived, divided, gathered, tilings, whole_run

kinds = pytest.mark.parametrize("kind", KINDS)
ROWS, COLUMNS = 12, 6


def encoded(agreed, X):
    """The joint table as ring words, the constant column last."""
    constant = np.ones((agreed.rows, agreed.width - agreed.columns))
    return encode(np.concatenate([X, constant], axis=1), DATA_BITS)


@settings(max_examples=40)
@given(tilings(), seeds)
def test_products_are_exact_for_every_tiling(tiling, seed):
    """X w, X^T r, X^T X, rows of X scaled, X^T Z and X^T y are the integers' modulo 2**64, however the table is cut."""
    agreed = derived(*tiling)
    X, y = table(agreed, seed)
    generator = np.random.default_rng(seed)
    d, m = agreed.width, agreed.rows
    deltas = [uniform(generator, shape) for shape in ((d, 1), (m, 1), (m, 1), (m, d))]

    def party(masked, label_mask, tuples):
        slot, parts, density = tuples["slot"][0][1], *tuples["density"][0]
        w, r = Truncated(deltas[0], slot["low"]), Truncated(deltas[1], slot["noise_low"])
        s, Z = Truncated(deltas[2], density["low"]), Masked(deltas[3], parts["scaled"])
        found = (
            masked.product(w, slot["table_low"]),
            masked.transposed_product(r, slot["table_noise"]),
            masked.gram(tuples["gram"][0][1]["table_table"]),
            masked.scaled(s, density["low_table"]),
            masked.transposed_matrix(Z, density["table_scaled"]),
            masked.label_totals(agreed, label_mask, tuples["labels"][0][1]["table_labels"]),
        )
        return [words(each) for each in (*found, w.tensor(), r.tensor(), s.tensor(), Z.tensor())]

    results, _ = session(agreed.model_copy(update={"loss_every": 6}), X, y, party)
    z, g, gram, scaled, rows, totals, w, r, s, Z = (joined(shares) for shares in zip(*results, strict=True))
    exact = encoded(agreed, X)
    across = np.ascontiguousarray(exact.T)
    assert (z == product(exact, w)).all()
    assert (g == product(across, r)).all()
    assert (gram == product(across, exact)).all()
    assert (scaled == s * exact).all()
    assert (rows == product(across, Z)).all()
    assert (totals == product(across, y)[:, None]).all()


@settings(max_examples=40)
@given(tilings())
def test_each_column_is_told_to_its_owners(tiling):
    """Every column is of one group, whose owners are just those who hold entries; no two groups have the same."""
    rows, blocks, labels = tiling
    agreed = derived(rows, blocks, labels)
    owner = np.zeros((rows, agreed.columns), dtype=int)
    for block in blocks:
        owner[block.place] = block.owner
    assert sorted(column for group in agreed.groups for column in group.columns) == list(range(agreed.columns))
    for group in agreed.groups:
        for column in group.columns:
            assert group.owners == tuple(sorted(set(owner[:, column].tolist())))
    assert len({group.owners for group in agreed.groups}) == len(agreed.groups)
    for rank in range(agreed.world):
        assert agreed.held(rank) == sorted(set(np.flatnonzero((owner == rank).any(axis=0)).tolist()))
        assert agreed.cells(rank) == (owner == rank).sum()


def test_a_mixed_program_names_all_that_it_discloses():
    """Moments and coefficients of columns held by rows go to their holders, the others' to their one owner."""
    assert divided("mixed").disclosures() == (
        Opening(name="moments", recipients=(0, 1), count=1, values=6),
        Opening(name="coefficients", recipients=(0, 1), count=1, values=3),
        Opening(name="coefficients", recipients=(2,), count=1, values=3),
        Opening(name="intercept", recipients=(1,), count=1, values=1),
        Opening(name="guard", recipients="session", count=2, values=1),
        Opening(name="loss", recipients="session", count=2, values=1),
    )
    assert [each.name for each in divided("vertical").disclosures()].count("moments") == 0


def block(owner, rows, columns):
    return Block(owner=owner, rows=rows, columns=columns)


LEFT, RIGHT = block(0, (0, ROWS), (0, 3)), block(1, (0, ROWS), (3, COLUMNS))
BAD = {
    "overlap": ({"blocks": (LEFT, block(1, (0, ROWS), (2, COLUMNS)))}, "party 0 and party 1 overlap"),
    "one cell twice": ({"blocks": (LEFT, RIGHT, block(0, (11, 12), (5, 6)))}, "overlap"),
    "the same block twice": ({"blocks": (LEFT, LEFT, RIGHT)}, "overlap"),
    "gap": ({"blocks": (LEFT, block(1, (1, ROWS), (3, COLUMNS)))}, "3 of the table's 72 entries are in no"),
    "missing column": ({"blocks": (LEFT, block(1, (0, ROWS), (4, COLUMNS)))}, "12 of the table's 72 entries"),
    "no blocks": ({"blocks": ()}, "feature column"),
    "too many rows": ({"blocks": (LEFT, block(1, (0, ROWS + 1), (3, COLUMNS)))}, "outside the table"),
    "row before the first": ({"blocks": (LEFT, block(1, (-1, ROWS), (3, COLUMNS)))}, "outside the table"),
    "column before the first": ({"blocks": (block(0, (0, ROWS), (-1, 3)), RIGHT)}, "outside the table"),
    "empty block": ({"blocks": (LEFT, RIGHT, block(1, (3, 3), (0, 3)))}, "is empty"),
    "backward block": ({"blocks": (LEFT, RIGHT, block(1, (4, 3), (0, 3)))}, "is empty"),
    "idle party": ({"blocks": (LEFT, block(2, (0, ROWS), (3, COLUMNS)))}, "party 1 owns no entry"),
    "one party": ({"blocks": (block(0, (0, ROWS), (0, COLUMNS)),)}, "two parties"),
    "labels twice": (
        {"labels": (LabelRows(owner=0, rows=(0, 7)), LabelRows(owner=1, rows=(6, ROWS)))},
        "rows 6 to 7 have two owners",
    ),
    "labels twice alike": ({"labels": labels_of(ROWS, 0) + labels_of(ROWS, 1)}, "rows 0 to 12 have two owners"),
    "labels with a gap": (
        {"labels": (LabelRows(owner=0, rows=(0, 5)), LabelRows(owner=1, rows=(6, ROWS)))},
        "from 5 on have no owner",
    ),
    "labels too short": ({"labels": (LabelRows(owner=0, rows=(0, 11)),)}, "from 11 on have no owner"),
    "no labels": ({"labels": ()}, "from 0 on have no owner"),
    "labels outside": ({"labels": (LabelRows(owner=0, rows=(0, 13)),)}, "of no row"),
    "labels of no row": ({"labels": (LabelRows(owner=0, rows=(3, 3)), *labels_of(ROWS, 0))}, "of no row"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tiling_is_refused(name):
    """Blocks that overlap, leave gaps or the table, idle parties, labels of two owners or none: each says what."""
    changes, says = BAD[name]
    with pytest.raises(ProgramError, match=says):
        derived(**({"rows": ROWS, "blocks": (LEFT, RIGHT), "labels": labels_of(ROWS, 0)} | changes))


def test_tables_are_cut_as_they_are_told():
    """Helpers give each party its columns or its rows, one after the other."""
    assert [each.columns for each in vertical(5, (2, 0, 3))] == [(0, 2), (2, 5)]
    rows = horizontal((2, 3), 4)
    assert [(each.rows, each.columns) for each in rows] == [((0, 2), (0, 4)), ((2, 5), (0, 4))]
    assert [(each.owner, each.rows) for each in labels_with(rows)] == [(0, (0, 2)), (1, (2, 5))]


@pytest.mark.parametrize("what", ["value", "label"])
def test_a_row_of_another_party_s_must_be_empty(what):
    """Values in rows of others would be counted twice: refused before anything is sent."""
    agreed = divided("horizontal")
    for rank in range(agreed.world):
        block, labels = own(agreed, rank, *table(agreed, 1))
        check_input(agreed, block, labels, rank)
        (block if what == "value" else labels)[agreed.blocks[1 - (rank > 0)].place[0]] = 1
        with pytest.raises(ProgramError, match="another party's"):
            check_input(agreed, block, labels, rank)


@kinds
@pytest.mark.parametrize("solver", ["newton", "nesterov"])
@pytest.mark.parametrize("loss_every", [0, 2])
def test_a_run_costs_what_was_quoted(kind, solver, loss_every):
    """Rounds, each party's bytes and the dealer's, of moments and training, are those of the quote, to the byte."""
    agreed = divided(kind, solver=solver, loss_every=loss_every)
    fits, _, simulation = whole_run(agreed, *table(agreed, 1))
    quote = costs.quote(agreed)
    assert {fit.rounds for fit in fits} == {quote.rounds}
    assert tuple(fit.bytes_sent for fit in fits) == quote.bytes_sent
    assert simulation.dealing.bytes_sent == quote.dealer_bytes


@kinds
def test_batches_of_every_partition_cost_what_was_quoted(kind):
    """Batches mix the rows of all owners: the same bytes as quoted, and one model at all who are told."""
    agreed = divided(kind, 40, solver="sgd", batch_rows=8, learning_rate="0.1", loss_every=0, max_iter=20)
    fits, _, simulation = whole_run(agreed, *table(agreed, 1))
    quote = costs.quote(agreed)
    assert {fit.rounds for fit in fits} == {quote.rounds}
    assert tuple(fit.bytes_sent for fit in fits) == quote.bytes_sent
    assert simulation.dealing.bytes_sent == quote.dealer_bytes
    assert np.abs(gathered(agreed, fits)).max() > 0.1


@kinds
def test_a_party_sends_its_own_entries_and_no_others(kind):
    """The table's exchange is as long as the entries that a party owns, and as its labels if losses are disclosed."""
    agreed = divided(kind)
    _, _, simulation = whole_run(agreed, *table(agreed, 1))
    for channel in simulation.channels:
        entries = agreed.cells(channel.rank) + agreed.labelled(channel.rank)
        assert channel.counters.sent_by_name["table"] == costs.opening(agreed.world, costs.WORD * entries).bytes_sent


@kinds
@pytest.mark.parametrize(("solver", "max_iter"), [("newton", None), ("nesterov", 400)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_partition_leads_to_the_pooled_optimum(kind, solver, max_iter, fit_intercept):
    """Coefficients are scikit-learn's on the pooled table, and the same bits at all owners of a column."""
    generator = np.random.default_rng(3)
    X = 7 + 3 * generator.normal(size=(160, 6)) @ generator.normal(size=(6, 6))
    y = (X @ generator.normal(size=6) + generator.logistic(size=160) * 4 > np.median(X) * 0.3).astype(np.int64)
    agreed = divided(kind, 160, solver=solver, max_iter=max_iter, loss_every=0, fit_intercept=fit_intercept)
    fits, _, _ = whole_run(agreed, X, y)
    assert_optimal(gathered(agreed, fits), X, y, fit_intercept=fit_intercept)


@pytest.mark.parametrize("kind", ["horizontal", "mixed", "windmill"])
def test_a_real_table_divided_by_rows(kind):
    """Breast cancer in any partition: joint moments, Newton's default iterations, scikit-learn's optimum, the loss."""
    X, y = load_breast_cancer(return_X_y=True)
    agreed = divided(kind, *X.shape, max_iter=None)
    fits, moments, _ = whole_run(agreed, X, y)
    z = assert_optimal(gathered(agreed, fits), X, y)
    exact = np.mean(np.logaddexp(0, z) - y * z)
    assert {fit.models[0].losses for fit in fits} == {fits[0].models[0].losses}
    assert abs(fits[0].models[0].losses[-1] - exact) < 1e-3
    for found in moments:
        columns = list(found.columns)
        assert np.allclose(found.means, X[:, columns].mean(axis=0), rtol=1e-9)
        assert np.allclose(found.deviations, X[:, columns].std(axis=0), rtol=1e-6)


def assert_optimal(weights, X, y, **options):
    """Returns the scores of the pooled optimum."""
    scaled = StandardScaler().fit_transform(X).clip(-32, 32)
    model = LogisticRegression(tol=1e-10, max_iter=20_000, **options).fit(scaled, y)
    best = np.append(model.coef_[0], model.intercept_ if model.fit_intercept else 0.0)
    scores = scaled @ best[:-1] + best[-1]
    found = scaled @ weights[:-1] + weights[-1]
    assert np.linalg.norm(weights - best) < 5e-3 * np.linalg.norm(best)
    assert np.abs(1 / (1 + np.exp(-found)) - 1 / (1 + np.exp(-scores))).max() < 2e-3
    return scores


@kinds
def test_results_reach_owners_alone(kind):
    """A party learns one coefficient for each column of which it holds entries; owners of labels the intercept."""
    agreed = divided(kind, solver="nesterov")
    fits, _ = fit(agreed, *table(agreed, 1))
    assert [each.models[0].coefficients.size for each in fits] == [
        len(agreed.held(rank)) for rank in range(agreed.world)
    ]
    told = tuple(rank for rank, each in enumerate(fits) if each.models[0].intercept is not None)
    assert told == agreed.label_owners


@kinds
def test_a_run_uses_every_disclosure_as_often_as_it_was_agreed(kind):
    """Moments, coefficients and the intercept are permitted once each, to those whom the program names."""
    agreed = divided(kind, solver="nesterov", loss_every=0)
    seen = []
    ledgers = [ProgramLedger(agreed, seen.append), *(ProgramLedger(agreed) for _ in range(agreed.world - 1))]
    whole_run(agreed, *table(agreed, 1), ledgers=ledgers)
    expected = [(each.name, each.recipients) for each in agreed.disclosures() if each.name != "guard"]
    assert [(each.name, each.recipients) for each in seen if each.name != "guard"] == expected


def test_the_reference_engine_takes_every_partition():
    """Stock CrypTen operations on shares of the same blocks give the same model."""
    found = []
    for kind in ("vertical", "windmill"):
        agreed = divided(kind, 40, engine="reference", solver=None, max_iter=8, loss_every=0)
        found.append(gathered(agreed, fit(agreed, *table(agreed, 1))[0]))
    assert np.abs(found[0]).max() > 0.1
    assert np.abs(found[0] - found[1]).max() < 0.02
