"""Joint quantiles of columns that several parties have rows of: what a contract says of them, and who may refuse it."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest

from mpc.errors import ProgramError
from parties.agreement.contract import Contract
from parties.agreement.contract_text import leaves
from parties.agreement.leaving import inferences, leaving
from parties.agreement.policy import Circumstances, Policy, Unasked, judge, verdict
from parties.columns.encoding import Agreed, FittedColumn, ReadColumn
from parties.columns.recipe import Recipe
from parties.errors import DataError
from tests.parties.test_prepared_matrix import RECIPES, made

ROWS = {"max_columns_per_100_rows": 1000, "min_cell_rows": 5}


@pytest.fixture(scope="module")
def in_blocks(paper: Contract) -> Contract:
    """The first and the third party share columns, four of which take quantiles; the second has all rows."""
    return made(paper, "blocks", [100, 180, 80])


def judged(policy: Policy, contract: Contract) -> tuple[str, list[str]]:
    found = judge(policy, contract, "first", Circumstances(datetime.now(UTC)))
    return verdict(found), [one.rule for one in found if one.verdict != "holds"]


def test_a_recipe_takes_certain_quantiles():
    """Limits, edges and the median, once each, ascending."""
    recipe = Recipe(winsorise=("0.05", "0.75"), quantile_bins=4, missing="median")
    assert recipe.quantiles == (Fraction(1, 20), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))
    assert Recipe(missing="median").quantiles == (Fraction(1, 2),)
    assert Recipe(edges=("1",)).quantiles == ()


def test_the_contract_says_what_is_told(in_blocks):
    """To whom, how often and how many; the operators of those who share columns read of what they are."""
    (item,) = (each for each in in_blocks.disclosures if each.name == "quantiles")
    count = sum(len(in_blocks.preparation.of(name).quantiles) for name in ("heavy", "third", "dose", "odds"))
    assert (item.recipient, item.count, item.values) == ("parties:first,third", 4, count)
    assert f"to 13 binary digits: {count} numbers, 4 times at most, to first, us\n" in leaves(in_blocks, "third")
    (line,) = (each for each in leaving(in_blocks, "third") if each.clause == item.clause)
    assert (line.outside, line.to) == (True, "first, us")
    (told,) = (sentence for sentence in inferences(in_blocks, "third") if "quantile" in sentence)
    assert "heavy, third, dose, odds" in told
    assert "first can tell" in told
    assert not [sentence for sentence in inferences(in_blocks, "second") if "quantile" in sentence]


def test_of_one_owner_s_columns_nothing_is_told(paper):
    """Divided by columns each owner fits its own, as the contract's program shows."""
    by_columns = made(paper, "columns", [180] * 3)
    assert by_columns.program.quantiles is None
    assert by_columns.ranked_columns(2) == {}
    assert not by_columns.discloses("quantiles")


def test_a_policy_asks_counts_and_refuses(in_blocks):
    """By default quantiles wait for the operator; they stand beside coefficients in what so many rows may tell."""
    every = Unasked(disclosures=Policy().disclosures, **ROWS)
    fewer = tuple(name for name in Policy().disclosures if name != "quantiles")
    assert judged(Policy(approve="automatic", automatic=every, **ROWS), in_blocks) == ("holds", [])
    asking = Policy(approve="automatic", automatic=Unasked(disclosures=fewer, **ROWS), **ROWS)
    assert judged(asking, in_blocks) == ("asks", ["disclosures"])
    assert judged(Policy(disclosures=fewer, **ROWS), in_blocks) == ("refuses", ["disclosures", "approve"])
    assert "quantiles" not in Unasked().disclosures
    (reason,) = (
        one.reason
        for one in judge(Policy(max_columns_per_100_rows=1), in_blocks, "first", Circumstances(datetime.now(UTC)))
        if one.rule == "max_columns_per_100_rows"
    )
    assert f"and {in_blocks.program.quantiles.count} quantiles and" in reason


@pytest.mark.parametrize("recipe", [{"quantile_bins": 40}, {"winsorise": ["0", "0.9"]}, {"winsorise": ["0.01", "0.9"]}])
def test_no_contract_comes_of_quantiles_that_tell_records(paper, recipe, monkeypatch):
    """Nearer to each other, or to an end, than a cell of rows."""
    monkeypatch.setitem(RECIPES, "heavy", recipe)
    with pytest.raises(ProgramError, match="quantile"):
        made(paper, "blocks", [100, 180, 80])


def test_columns_fit_by_what_was_told():
    """Edges and the median lie within the limits; equal edges are one; the kept model applies the same to new rows."""
    recipe = Recipe(winsorise=("0.2", "0.6"), quantile_bins=4)
    fitted = FittedColumn.joint(recipe, "x", Agreed(quantiles=(1.0, 2.0, 5.0, 7.0, 9.0)))
    assert fitted.limits == (1.0, 7.0)
    assert fitted.edges == (2.0, 5.0, 7.0)
    same = FittedColumn.model_validate_json(fitted.model_dump_json())
    values = np.array([-9.0, 2.0, 6.0, 99.0, np.nan])
    assert same.bins(ReadColumn("x", values)).tolist()[:4] == [0, 1, 2, 3]
    ties = FittedColumn.joint(Recipe(quantile_bins=4), "x", Agreed(quantiles=(0.0, 0.0, 3.0)))
    assert ties.edges == (0.0, 3.0)
    assert ties.apply(ReadColumn("x", np.array([-1.0, 0.0, 3.0]))).shape == (3, 4)
    filled = FittedColumn.joint(Recipe(missing="median"), "x", Agreed(quantiles=(4.0,)))
    assert filled.apply(ReadColumn("x", np.array([np.nan, 1.0]))).tolist() == [[4.0], [1.0]]
    assert "4.0" not in repr(filled)


def test_a_column_without_any_value_is_refused():
    """By its owners, who see it by what they are told; no value of a number is named."""
    with pytest.raises(DataError, match="column 'x' has no value in any training row"):
        FittedColumn.joint(Recipe(missing="median"), "x", Agreed(quantiles=(float("nan"),)))
