"""Training rows have every class: a model of one class alone would be nonsense, and is refused where one can see it."""

from __future__ import annotations

import numpy as np
import pytest

from parties.errors import DataError
from parties.process.worker import Prepared, choose
from tests.parties.conftest import draft, numbers

ROWS = 40
LAST = np.arange(ROWS) == ROWS - 1


def chosen(y: np.ndarray, training: np.ndarray, **label: object) -> np.ndarray:
    """Which of 40 rows are trained on, all others being held out."""
    contract = draft("11" * 32, "22" * 32, "33" * 32)
    contract = contract.model_copy(update={"label": contract.label.model_copy(update=label)})
    columns = numbers(contract.parties[0].columns, np.random.default_rng(1).normal(size=(ROWS, 2)))
    ready = Prepared(tuple(map(str, range(ROWS))), columns, y.astype(np.int64), None, None)
    return choose(contract, ready, (training, np.setdiff1d(np.arange(ROWS), training)), {}).training


@pytest.mark.parametrize("y", [LAST, ~LAST], ids=["no yes", "no no"])
def test_a_class_that_is_all_held_out_ends_the_session(y):
    """Its owner is told the column and what to do; others neither which class it is, nor how many rows."""
    assert len(chosen(y, np.arange(1, ROWS))) == ROWS - 1
    with pytest.raises(DataError, match="a class of the label 'outcome' has no training row") as caught:
        chosen(y, np.arange(ROWS - 1))
    assert "hold out fewer" in caught.value.action
    assert caught.value.outward == "the training rows can't be told apart by the label 'outcome'"


def test_each_of_several_classes_is_trained_on():
    """Two of three classes don't do."""
    y = np.arange(ROWS) % 2 + LAST
    several = {"positive": None, "classes": ("a", "b", "c")}
    assert len(chosen(y, np.arange(ROWS), **several)) == ROWS
    with pytest.raises(DataError, match="no training row"):
        chosen(y, np.arange(ROWS - 1), **several)


@pytest.mark.parametrize("party", [("clinic-a", "clinic-b"), None], ids=str)
def test_where_labels_have_several_owners_none_judges_by_its_own_rows(party):
    """What one's rows lack another's may have."""
    assert len(chosen(LAST, np.arange(ROWS - 1), party=party)) == ROWS - 1
