"""Joint means of columns with gaps that several parties have rows of: what a contract says of them, who may refuse."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from parties.agreement.contract import Contract
from parties.agreement.contract_text import leaves
from parties.agreement.leaving import inferences, leaving
from parties.agreement.policy import Circumstances, Policy, Unasked, judge, verdict
from parties.columns.encoding import Agreed, FittedColumn, ReadColumn
from parties.columns.recipe import Recipe
from parties.errors import DataError
from parties.process.worker import check_values
from tests.parties.test_prepared_matrix import CELL, drawn, made, prepared, shares_of

ROWS = {"max_columns_per_100_rows": 1000, "min_cell_rows": CELL}


@pytest.fixture(scope="module")
def in_blocks(paper: Contract) -> Contract:
    """The first and the third party share columns, two of which are filled with the mean; the second has all rows."""
    return made(paper, "blocks", [100, 180, 80])


def judged(policy: Policy, contract: Contract) -> tuple[str, list[str]]:
    found = judge(policy, contract, "first", Circumstances(datetime.now(UTC)))
    return verdict(found), [one.rule for one in found if one.verdict != "holds"]


def test_the_contract_says_what_is_told(in_blocks):
    """A sum and a count of each column, to those who share it; their operators read what can be made of them."""
    (item,) = (each for each in in_blocks.disclosures if each.name == "means")
    assert (item.recipient, item.count, item.values) == ("parties:first,third", 1, 4)
    assert "how many these are: 4 numbers, once at most, to first, us\n" in leaves(in_blocks, "third")
    (line,) = (each for each in leaving(in_blocks, "third") if each.clause == item.clause)
    assert (line.outside, line.to) == (True, "first, us")
    (told,) = (sentence for sentence in inferences(in_blocks, "third") if "have a value" in sentence)
    assert told.startswith("Of dose, weight first subtracts its own,")
    assert f"(none, or {CELL} at least)" in told
    assert not [sentence for sentence in inferences(in_blocks, "second") if "have a value" in sentence]


def test_of_one_owner_s_columns_nothing_is_told(paper):
    """Divided by columns each owner fills its own gaps, as the contract's program shows."""
    by_columns = made(paper, "columns", [180] * 3)
    assert by_columns.program.means == ()
    assert by_columns.averaged_columns(0) == {}
    assert not by_columns.discloses("means")


def test_a_policy_asks_counts_and_refuses(in_blocks):
    """By default means wait for the operator; they stand beside coefficients in what so many rows may tell, and their
    least part is a cell."""
    every = Unasked(disclosures=Policy().disclosures, **ROWS)
    fewer = tuple(name for name in Policy().disclosures if name != "means")
    assert judged(Policy(approve="automatic", automatic=every, **ROWS), in_blocks) == ("holds", [])
    asking = Policy(approve="automatic", automatic=Unasked(disclosures=fewer, **ROWS), **ROWS)
    assert judged(asking, in_blocks) == ("asks", ["disclosures"])
    assert judged(Policy(disclosures=fewer, **ROWS), in_blocks) == ("refuses", ["disclosures", "approve"])
    assert "means" not in Unasked().disclosures
    circumstances = Circumstances(datetime.now(UTC))
    (reason,) = (
        one.reason
        for one in judge(Policy(max_columns_per_100_rows=1), in_blocks, "first", circumstances)
        if one.rule == "max_columns_per_100_rows"
    )
    assert "and 2 means of columns with gaps on" in reason


def test_cells_of_means_are_the_policy_s(paper, monkeypatch):
    """Fewer values in a party's part than the policy's cell are refused, if nothing else has cells."""
    listed = {"dose": {"missing": "mean"}}
    monkeypatch.setattr("tests.parties.test_prepared_matrix.RECIPES", listed)
    monkeypatch.setattr("tests.parties.test_prepared_matrix.KINDS", {"rows": [list(listed)] * 3})
    by_rows = made(paper, "rows", [100, 60, 60])
    circumstances = Circumstances(datetime.now(UTC))
    found = [one for one in judge(Policy(min_cell_rows=CELL + 1), by_rows, "first", circumstances) if one.reason]
    assert [(one.rule, one.verdict) for one in found if one.rule == "min_cell_rows"] == [("min_cell_rows", "refuses")]


def test_a_part_of_few_values_is_not_told(in_blocks):
    """None tell of nobody; a few would be these records' values. Others are told no number and no name of a column."""
    check_values(in_blocks, {"dose": 0, "weight": CELL})
    with pytest.raises(DataError, match="column 'dose' has a value in 4 training rows") as caught:
        check_values(in_blocks, {"weight": CELL, "dose": CELL - 1})
    assert "dose" not in caught.value.outward
    assert "4" not in caught.value.outward


def test_a_part_of_few_values_ends_a_session_before_it_is_told(paper):
    """The party itself stops, by its training rows alone; nothing of the means was opened by then."""
    generator = np.random.default_rng(5)
    frame = drawn(generator, 200)
    frames = shares_of("rows", frame, generator)
    frames[1] = frames[1].copy()
    frames[1].iloc[CELL - 1 :, frames[1].columns.get_loc("dose")] = np.nan
    with pytest.raises(DataError, match="column 'dose' has a value in"):
        prepared(made(paper, "rows", [len(each) for each in frames]), frames)


def test_columns_are_filled_with_what_was_told():
    """The mean fills, 0 too; winsorised ones lie within their limits; the kept model applies the same to new rows."""
    values = np.array([np.nan, -9.0, 2.0, 99.0])
    fitted = FittedColumn.joint(Recipe(missing="mean", indicator=True), "x", Agreed(mean=0.0))
    assert fitted.apply(ReadColumn("x", values)).tolist() == [[0.0, 1.0], [-9.0, 0.0], [2.0, 0.0], [99.0, 0.0]]
    recipe = Recipe(missing="mean", winsorise=("0.2", "0.6"))
    fitted = FittedColumn.joint(recipe, "x", Agreed(quantiles=(1.0, 7.0), mean=3.25))
    same = FittedColumn.model_validate_json(fitted.model_dump_json())
    assert same.apply(ReadColumn("x", values))[:, 0].tolist() == [3.25, 1.0, 2.0, 7.0]
    assert "3.25" not in repr(fitted)


def test_a_column_without_any_value_is_refused():
    """By its owners, who see it by what they are told."""
    with pytest.raises(DataError, match="column 'x' has no value in any training row"):
        FittedColumn.joint(Recipe(missing="mean"), "x", Agreed(mean=float("nan")))
