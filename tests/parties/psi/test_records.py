"""Ids in one form: what people write in different ways is one id, and what is not the same stays apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parties.agreement.match_rules import IdRule, MatchRules
from parties.errors import DataError, SettingsError
from parties.psi import keyed_records

KEY = bytes(32)
TEXT = IdRule()
EXACT = IdRule(fold_case=False)
LETTERS = IdRule(only_alphanumeric=True)
DATE = IdRule(kind="date", formats=("%Y-%m-%d", "%d.%m.%Y"))
PHONE = IdRule(kind="phone", region="DE")


def rules(*columns: IdRule, **changes) -> MatchRules:
    return MatchRules(columns=columns, **changes)


@pytest.mark.parametrize(
    ("rule", "spellings"),
    [
        (TEXT, ["AB-1", " ab-1 ", "ab-1\u00a0", "\uff21\uff22-1"]),
        (TEXT, ["M\u00fcller", "mu\u0308ller", "M\u00dcLLER"]),
        (TEXT, ["Stra\u00dfe", "STRASSE"]),
        (LETTERS, ["12-34 A", "1234a", "12.34/A"]),
        (DATE, ["1990-02-03", "03.02.1990", " 3.2.1990 "]),
        (PHONE, ["+49 30 901820", "030 901820", "0049 (30) 90 18-20"]),
    ],
)
def test_spellings_of_one_id_are_one(rule, spellings):
    """All come to the same form."""
    assert len({rule.form()(spelling) for spelling in spellings}) == 1
    assert rule.form()(spellings[0])


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        (EXACT, "ab", "AB"),
        (TEXT, "ab-1", "ab1"),
        (TEXT, "007", "7"),
        (DATE, "1990-02-03", "1990-03-02"),
        (PHONE, "030 901820", "030 901821"),
    ],
)
def test_other_ids_stay_apart(rule, one, other):
    """No rule makes one of two."""
    assert rule.form()(one) != rule.form()(other)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (DATE, "30.02.1990"),
        (DATE, "yesterday"),
        (DATE, ""),
        (PHONE, "none"),
        (PHONE, "12"),
        (LETTERS, "--"),
        (TEXT, " "),
    ],
)
def test_what_has_no_form_matches_nothing(rule, value):
    """A row with such an id is left out; the others stay, under their own indices."""
    assert rule.form()(value) == ""
    good = {"date": "1990-02-03", "phone": "030 901820", "text": "ok"}[rule.kind]
    assert keyed_records([[value, good, None]], rules(rule), KEY).rows.tolist() == [1]


@given(st.text(max_size=20))
def test_a_form_is_its_own_form(value):
    """Bringing an id to its form twice changes nothing."""
    for rule in (TEXT, EXACT, LETTERS):
        form = rule.form()
        assert form(form(value)) == form(value)


def test_several_columns_are_one_id_together():
    """Columns are joined so that no two lists of parts are one; a row without one of them is left out."""
    found = keyed_records([["ab", "a", "x"], ["c", "bc", None]], rules(TEXT, TEXT), KEY)
    assert found.rows.tolist() == [0, 1]
    assert found.elements[0].tobytes() != found.elements[1].tobytes()


def test_elements_are_keyed():
    """Under another session's key an id is another element."""
    one, other = (keyed_records([["a"]], rules(TEXT), key).elements.tobytes() for key in (KEY, bytes([1]) * 32))
    assert one != other


def test_duplicates_are_refused_or_chosen_by_rule():
    """Two rows of one id: an error that tells how many, or the first, or the last."""
    ids = ["a", "b", "A", "c", " a"]
    with pytest.raises(DataError, match="2 rows have ids that are another row's") as caught:
        keyed_records([ids], rules(TEXT), KEY)
    assert "2" not in caught.value.outward
    assert sorted(keyed_records([ids], rules(TEXT, duplicates="first"), KEY).rows.tolist()) == [0, 1, 3]
    assert sorted(keyed_records([ids], rules(TEXT, duplicates="last"), KEY).rows.tolist()) == [1, 3, 4]


def test_columns_and_rules_are_as_many():
    """A column without a rule is a mistake of the caller's."""
    with pytest.raises(SettingsError, match="2 id columns are here, the rules are about 1"):
        keyed_records([["a"], ["b"]], rules(TEXT), KEY)


@pytest.mark.parametrize(
    "change", [{"columns": ()}, {"minimum": 0}, {"duplicates": "any"}, {"columns": (IdRule(),) * 9}, {"extra": 1}]
)
def test_rules_from_elsewhere_are_checked(change):
    """Rules are a closed form."""
    with pytest.raises(ValidationError):
        MatchRules.model_validate({"columns": [{"kind": "text"}]} | change)


def test_digests_tell_rules_apart():
    """Parties with the same rules have the same digest, others another."""
    assert rules(TEXT).digest() == rules(TEXT).digest()
    assert len({rules(TEXT).digest(), rules(EXACT).digest(), rules(TEXT, minimum=51).digest()}) == 3


@given(st.lists(st.none() | st.sampled_from(["a", "A", "b", " b", "c", "", "d"]), max_size=30))
def test_of_equal_ids_one_is_taken(ids):
    """The first or the last row of each, in the order of rows; refused where two are the same."""
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(ids):
        if value:
            rows.setdefault(value.strip().lower(), []).append(row)
    if not rows:
        with pytest.raises(DataError, match="no row has ids"):
            keyed_records([ids], rules(TEXT), KEY)
        return
    for duplicates, place in (("first", 0), ("last", -1)):
        found = keyed_records([ids], rules(TEXT, duplicates=duplicates), KEY)
        assert found.rows.tolist() == sorted(each[place] for each in rows.values())
        assert len({element.tobytes() for element in found.elements}) == len(rows)
    repeated = sum(map(len, rows.values())) - len(rows)
    if repeated:
        with pytest.raises(DataError, match=f"{repeated} rows have ids that are another row's"):
            keyed_records([ids], rules(TEXT), KEY)
    else:
        assert len(keyed_records([ids], rules(TEXT), KEY).rows) == len(rows)
