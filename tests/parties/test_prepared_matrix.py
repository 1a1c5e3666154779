"""The joint matrix as the engine gets it, cell by cell against pandas on the pooled table, for every division of it.

Parties run as threads, with real records of their own in orders of their own, real matching, counts and moments. The
oracle sees everything and is written in pandas: it shares no code with what it judges but the list of marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.channel import MemoryChannel
from mpc.curves import marks, mirrored
from mpc.disclosure import ProgramLedger
from mpc.matching_program import Matching
from mpc.program import derive
from mpc.randomness import Entropy
from mpc.simulation import Simulation
from parties.agreement.contract import Contract, Party, beside, disclosures_for, spec_for, told_before
from parties.agreement.match_rules import MatchRules
from parties.agreement.plan import EvaluationPlan, LabelPlan, ModelPlan, SplitPlan
from parties.agreement.quote import quote
from parties.columns.division import Division
from parties.columns.preparation import split
from parties.columns.reading import read_columns
from parties.columns.recipe import PreparationPlan
from parties.data.matched_rows import Found, MatchedRows
from parties.data.tables import Table, ids_of, labels
from parties.data.vault import Vault
from parties.data.vault_key import MasterKey
from parties.process.agreeing import agree_on_levels
from parties.process.job import Answer, Intent, Report
from parties.process.match_worker import _strips
from parties.process.worker import Prepared, _agreed, _placed, _standardiser, _weighed, divide
from parties.psi import keyed_records, match
from tests.mpc.engine import taken
from tests.parties.psi.test_protocol import KEY, bound, played

CLIP, CELL, SINCE = 8.0, 5, "2020-01-01"
CITIES, GRADES = ["Bern", "Genf", "Oslo", "Rom", "Ulm"], ["low", "mid", "high"]
OWN = {"missing": "own"}
WEIGHED = {"weight_of_evidence": True}

FITTED: dict[str, dict[str, Any]] = {  # of columns with one owner
    "mean": {"missing": "mean", "indicator": True},
    "median": {"missing": "median"},
    "tail": {"missing": "mean", "winsorise": ["0.05", "0.9"]},
    "quarter": {"quantile_bins": 4, "drop_first": True},
    "city": {"encoding": "one-hot", "most_levels": 2} | OWN,
    "score": {"quantile_bins": 5} | OWN | WEIGHED,
    "town": {"encoding": "one-hot", "most_levels": 3} | OWN | WEIGHED,
}
LISTED: dict[str, dict[str, Any]] = {  # of any
    "plain": {},
    "constant": {"missing": "constant", "constant": "-2.5", "indicator": True},
    "day": {"encoding": "days", "since": SINCE},
    "grade": {"encoding": "ordinal", "levels": GRADES, "missing": "constant", "constant": "1"},
    "place": {"encoding": "one-hot", "levels": ["Ulm", "Bern"]} | OWN,
    "band": {"edges": ["18", "40", "65"]} | OWN,
    "risk": {"edges": ["18", "40", "65"]} | OWN | WEIGHED,
    "region": {"encoding": "one-hot", "levels": ["Bern", "Rom", "Ulm"], "drop_first": False} | WEIGHED,
    "ward": {"encoding": "one-hot", "most_levels": 3} | OWN,
    "clinic": {"encoding": "one-hot", "most_levels": 7} | WEIGHED,
    "heavy": {"missing": "median", "winsorise": ["0.1", "0.85"], "indicator": True},
    "third": {"quantile_bins": 3} | OWN,
    "dose": {"missing": "mean", "winsorise": ["0.1", "0.9"]},
    "weight": {"missing": "mean", "indicator": True},
    "odds": {"quantile_bins": 4, "winsorise": ["0.1", "0.9"]} | WEIGHED,
}
RECIPES = FITTED | LISTED
KINDS = {  # who has which columns, by the division
    "columns": [["mean", "median", "tail", "score", "risk"], ["city", "quarter", "town", "day", "plain", "grade"], []],
    "rows": [list(LISTED)] * 3,
    "blocks": [list(LISTED), list(FITTED), list(LISTED)],
}
KINDS["columns"][2] = [
    "constant",
    "place",
    "band",
    "region",
    "ward",
    "clinic",
    "heavy",
    "third",
    "dose",
    "weight",
    "odds",
]  # of who has the labels
HOLDERS = {"columns": "third", "rows": None, "blocks": "second"}
NAMES = ("first", "second", "third")
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def drawn(generator: np.random.Generator, rows: int) -> pd.DataFrame:
    """A pooled table with gaps, rare levels, dates, long tails, and a label that depends on some of it."""

    def gaps(values: Any, share: float) -> pd.Series:
        return pd.Series(values).mask(generator.random(rows) < share)

    def level(p: list[float]) -> np.ndarray:
        return generator.choice(CITIES, rows, p=p).astype(object)

    days = pd.Timestamp(SINCE) + pd.to_timedelta(generator.integers(-900, 900, rows), unit="D")
    age = generator.normal(40, 20, rows)
    frame = pd.DataFrame(
        {
            "mean": gaps(generator.gamma(2, 30, rows), 0.2),
            "median": gaps(generator.gamma(2, 30, rows), 0.3),
            "tail": gaps(generator.standard_t(2, rows), 0.1),
            "quarter": generator.exponential(1, rows),
            "city": gaps(level([0.4, 0.3, 0.03, 0.07, 0.2]), 0.15),
            "score": gaps(generator.normal(0, 1, rows) + age / 30, 0.1),
            "town": gaps(level([0.3, 0.3, 0.05, 0.15, 0.2]), 0.1),
            "plain": generator.normal(50, 9, rows),
            "constant": gaps(generator.normal(0, 1, rows), 0.1),
            "day": pd.Series(days.strftime("%Y-%m-%d").astype(object)),
            "grade": gaps(generator.choice(GRADES, rows).astype(object), 0.1),
            "place": gaps(level([0.3, 0.2, 0.1, 0.1, 0.3]), 0.1),
            "band": gaps(age + generator.normal(0, 5, rows), 0.1),
            "risk": gaps(age, 0.1),
            "region": pd.Series(level([0.2] * 5)),
            "ward": gaps(level([0.3, 0.02, 0.2, 0.28, 0.2]), 0.1),
            "clinic": pd.Series(level([0.4, 0.25, 0.25, 0.05, 0.05])),
            "heavy": gaps(generator.standard_t(2, rows) * 10.0 ** generator.integers(-6, 7), 0.2),
            "third": gaps(generator.integers(-4, 5, rows).astype(float), 0.1),
            "dose": gaps(generator.standard_t(2, rows) * 1e3, 0.3),
            "weight": gaps(generator.gamma(2, 30, rows), 0.2),
            "odds": pd.Series(generator.normal(age / 10, 1)),
        }
    )
    base = generator.choice([0.1, 0.35, 0.9])
    frame["outcome"] = np.where(generator.random(rows) < np.clip(base * age / 40, 0.02, 0.98), "yes", "no")
    frame.index = pd.Index([f"R{number:05d}" for number in generator.permutation(100_000)[:rows]])
    return frame.sort_index()


def table(frame: pd.DataFrame) -> Table:
    """As a vault hands it out: text, float64 and nulls, sorted by id."""
    columns = {"id": pa.array(frame.index.tolist())}
    for name in frame:
        values = [None if pd.isna(value) else value for value in frame[name]]
        is_text = any(isinstance(value, str) for value in values)
        columns[str(name)] = pa.array(values, type=pa.string() if is_text else pa.float64())
    return Table(name="cohort", id_column="id", arrow=pa.table(columns))


def made(paper: Contract, kind: Any, counts: list[int]) -> Contract:
    """Three parties; in blocks the first and the third have rows of the same columns, the second has all rows."""
    preparation = PreparationPlan.model_validate(
        {
            "columns": {name: RECIPES[name] for columns in KINDS[kind] for name in columns},
            "smallest_bin": CELL,
            "information_value": True,
            "clip_bits": 3,
        }
    )
    parties = tuple(
        Party(
            name=name,
            public_key=f"{number + 4}{number + 4}" * 32,
            data="cohort",
            data_version="ab" * 16,
            schema_sha256="5a" * 32,
            id_column="id",
            columns=tuple(KINDS[kind][number]),
            rows=counts[number],
        )
        for number, name in enumerate(NAMES)
    )
    label = LabelPlan(party=HOLDERS[kind], column="outcome", positive="yes")
    model, evaluation = ModelPlan(solver="nesterov", max_iter=1, tol="0"), EvaluationPlan(figures=())
    facts = (parties, label, model, preparation, SplitPlan(held_out="0.25"), evaluation, 0)
    program = derive(spec_for(*facts, partition=kind))
    fields = {name: getattr(paper, name) for name in Contract.model_fields} | {
        "partition": kind,
        "parties": parties,
        "label": label,
        "matching": {"columns": "equal-ids", "rows": "equal-classes", "blocks": "joined-ids"}[kind],
        "preparation": preparation,
        "model": model,
        "evaluation": evaluation,
        "loss_every": 0,
        "program": program,
        "quote": quote(program, beside(kind, parties, label, preparation)),
        "disclosures": disclosures_for(program, list(NAMES), told_before(kind, parties, preparation)),
    }
    contract = Contract(**fields)
    contract.check_derived()
    return contract


def shares_of(kind: str, frame: pd.DataFrame, generator: np.random.Generator) -> list[pd.DataFrame]:
    """Each party's records; those of row-wise partners are disjoint."""
    order = generator.permutation(len(frame))
    if kind == "columns":
        return [frame] * 3
    cut = [len(frame) // 2, len(frame) * 3 // 4]
    parts = [frame.iloc[np.sort(rows)] for rows in np.split(order, cut if kind == "rows" else cut[:1])]
    return parts if kind == "rows" else [parts[0], frame, parts[1]]


class Heard:
    """In place of a node that says yes: what its worker asked for, and what it was told."""

    def __init__(self) -> None:
        self.asked: list[Intent] = []
        self.told: list[Report] = []

    def say(self, report: Report) -> None:
        self.told.append(report)

    def ask(self, intent: Intent) -> None:
        self.asked.append(intent)

    def request(self, report: Report) -> Answer:
        raise AssertionError(report)


def prepared(contract: Contract, frames: list[pd.DataFrame]) -> list[Any]:
    """Of each party: ids, training and held-out cells, its encoding, and what it was told."""
    program, division = contract.program, contract.division

    def party(runtime: Any) -> Any:
        rank = runtime.rank
        own, name = frames[rank], NAMES[rank]
        read = read_columns(table(own), contract.parties[rank].columns, contract.preparation)
        y = labels(table(own), "outcome", ("yes",)) if contract.label.held_by(name) else None
        parts = [frames[other] for other in next(side for side in division.sides if len(side) == division.parts)]
        is_whole = len(division.parts_of(rank)) > 1
        places = tuple(own.index.get_indexer(part.index) for part in parts) if is_whole else (np.arange(len(own)),)
        ready = Prepared(tuple(own.index), read, y, None, None)
        divided = divide(contract, ready, places)
        levels = agree_on_levels(contract, runtime.channel, runtime.keys, read, divided[0], Heard())
        ready = _agreed(contract, ready, divided, levels, runtime)
        chosen, encoded, told = _weighed(contract, ready, runtime)
        standardiser = _standardiser(contract, chosen, encoded, runtime)
        X = standardiser.apply(encoded.values)
        placed = _placed(program, program, rank, X, y, chosen.training)
        taken(program, runtime)
        ids = [own.index[rows].tolist() for rows in (chosen.training, chosen.held_out)]
        return ids, placed, X[chosen.held_out], encoded.encoding, told

    return Simulation(program).run(party)


def most_frequent(values: pd.Series, most: int, least: int = 0) -> list[str]:
    counts = values.value_counts()
    return sorted(counts.index[counts >= least], key=lambda level: (-counts[level], level))[:most]


def levels_of(values: pd.Series, most: int, owners: list[pd.Index], least: int = CELL) -> list[str]:
    """Those that have columns: of several owners what most of them told, each of its own rows alone."""
    if len(owners) == 1:
        return most_frequent(values[owners[0]], most)
    told = pd.Series([level for own in owners for level in most_frequent(values[own], most, least)], dtype=object)
    return most_frequent(told, most)


def quantiles(values: pd.Series, fractions: Iterable[Fraction], divided: bool) -> list[float]:
    """Interpolated where one party has all values; else the value of that rank, rounded down to 13 binary digits."""
    if not divided:
        return values.quantile([float(each) for each in fractions]).tolist()
    present = values.dropna().sort_values()
    return by_rank(present.tolist(), fractions)


def by_rank(values: list[float], fractions: Iterable[Fraction]) -> list[float]:
    found = []
    for each in fractions:
        digits, exponent = math.frexp(values[int(each * len(values))])
        found.append(math.ldexp(math.floor(digits * 2**13), exponent - 13))
    return found


def winsorised(values: pd.Series, recipe: dict[str, Any], fit: pd.Index, divided: bool) -> pd.Series:
    if not (limits := recipe.get("winsorise")):
        return values
    return values.clip(*quantiles(values[fit], map(Fraction, limits), divided))


def bins_of(
    values: pd.Series, recipe: dict[str, Any], fit: pd.Index, owners: list[pd.Index] | None = None
) -> pd.DataFrame:
    """Columns of 0 and 1, a gap's last. `owners`: training rows of each party that has the column, if several do."""
    if recipe.get("encoding") == "one-hot":
        kept = recipe.get("levels") or sorted(levels_of(values, recipe["most_levels"], owners or [fit]))
        found = {level: values == level for level in kept}
        unused = recipe.get("most_levels", len(kept)) - len(kept)
        found |= {f"unused {number}": values == "nobody's" for number in range(unused)}
        found["other"] = ~values.isin(kept) & values.notna()
    else:
        values = winsorised(values, recipe, fit, len(owners or []) > 1)
        edges = [float(edge) for edge in recipe.get("edges", ())]
        if count := recipe.get("quantile_bins"):
            fractions = [Fraction(place, count) for place in range(1, count)]
            edges = sorted(set(quantiles(values[fit], fractions, len(owners or []) > 1)))
        cut = pd.cut(values, [-np.inf, *edges, np.inf], right=False, labels=False)
        found = {f"bin {number}": cut == number for number in range(len(edges) + 1)}
    if recipe.get("missing") == "own":
        found["gap"] = values.isna()
    dropped = list(found)[int(recipe.get("drop_first", False)) :]
    return pd.DataFrame(found)[dropped].astype(float)


def weight_of_evidence(
    bins: pd.DataFrame, positive: pd.Series, divided: bool, cell: int = CELL
) -> tuple[pd.Series, float]:
    """Of each bin, by the stated rule, and the information value: of the training rows' bins."""
    sides = {"positives": bins[positive].sum().astype(int), "negatives": bins[~positive].sum().astype(int)}
    sizes, m = bins.sum().astype(int), len(bins)
    ranges = {}
    for name in bins:
        p, q, n = sides["positives"][name], sides["negatives"][name], sizes[name]
        if divided:
            ranges[name] = [*within(marks(m, cell), m, p), *within(mirrored(m, cell), m, q)]
        else:
            low, high = within(marks(n, cell) if n + 1 >= 2 * cell else (), n, p)
            ranges[name] = [low, high, n - high, n - low]
    told = pd.DataFrame(ranges, index=["p low", "p high", "q low", "q high"]).T
    middle_p, middle_q = (told["p low"] + told["p high"]) / 2, (told["q low"] + told["q high"]) / 2
    known = (told["p low"] > 0) | (told["q low"] > 0)
    if not known.any():
        return pd.Series(0.0, index=bins.columns), 0.0
    P, Q = middle_p[known].sum(), middle_q[known].sum()
    holds = (told["p low"] * Q <= P * told["q high"]) & (told["p high"] * Q >= P * told["q low"])  # halves: exact
    with np.errstate(divide="ignore", invalid="ignore"):  # of bins without a row, which weigh nothing
        weights = np.log(middle_p / P).sub(np.log(middle_q / Q)).mask(holds, 0.0)
    return weights, float(((middle_p / P - middle_q / Q) * weights).sum())


def within(held_against: tuple[int, ...], most: int, count: int) -> tuple[int, int]:
    ends = [0, *held_against, most + 1]
    at = max(place for place, end in enumerate(ends) if end <= count)
    return ends[at], ends[at + 1] - 1


def by_pandas(name: str, values: pd.Series, fit: pd.Index, positive: pd.Series, owners: list[pd.Index]) -> pd.DataFrame:
    """One column as a pooled pipeline has it, before it is standardised. `owners`: whose training rows it is of."""
    recipe, gap = RECIPES[name], values.isna().astype(float)
    if recipe.get("encoding") == "days":
        return (pd.to_datetime(values) - pd.Timestamp(SINCE)).dt.days.astype(float).to_frame()
    if recipe.get("encoding") == "one-hot" or {"edges", "quantile_bins"} & recipe.keys():
        bins = bins_of(values, recipe, fit, owners)
        if not recipe.get("weight_of_evidence"):
            return bins
        weights, _ = weight_of_evidence(bins.loc[fit], positive[fit], len(owners) > 1)
        return (bins @ weights).to_frame()
    if recipe.get("encoding") == "ordinal":
        values = values.map({level: float(place) for place, level in enumerate(GRADES)})
    values = winsorised(values, recipe, fit, len(owners) > 1)
    rules = {"mean": values[fit].mean}
    rules["median"] = lambda: quantiles(values[fit], [Fraction(1, 2)], len(owners) > 1)[0]
    rules["constant"] = lambda: float(recipe["constant"])
    if (rule := recipe.get("missing")) in rules:
        values = values.fillna(rules[rule]())
    return pd.concat([values, gap], axis=1) if recipe.get("indicator") else values.to_frame()


def standardised(values: pd.DataFrame, fit: pd.Index) -> pd.DataFrame:
    mean, deviation = values.loc[fit].mean(), values.loc[fit].std(ddof=0)
    varies = np.ptp(values.loc[fit].to_numpy(), axis=0) > 0
    return ((values - mean) / deviation.where(varies, np.inf)).clip(-CLIP, CLIP)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(120, 300))
def test_every_cell_is_that_of_the_pooled_pipeline(paper, kind, seed, rows):
    """Every recipe, gaps, counts and moments of all who have a column: training rows and held-out ones, in one order
    everywhere, standardised and clipped; and labels beside them."""
    generator = np.random.default_rng(seed)
    frame = drawn(generator, rows)
    frames = shares_of(kind, frame, generator)
    contract = made(paper, kind, [len(each) for each in frames])
    check_cells(contract, frame, frames, prepared(contract, frames))


@pytest.mark.parametrize("seed", [3, 4])
def test_every_cell_of_lists_that_overlap_in_part_is_that_of_the_pooled_merge(paper, seed, tmp_path):
    """Lists of more records, in orders and with spellings of ids of their own, matched first by the protocol and kept
    in vaults under the ids that all share; against a merge."""
    generator = np.random.default_rng(seed)
    people = drawn(generator, 300)
    lists = {}
    for number, name in enumerate(NAMES):
        absent = people.index[number * 40 : (number + 1) * 40]
        own = people.drop(absent)[[*KINDS["columns"][number], *(["outcome"] if name == "third" else [])]]
        own = own.iloc[generator.permutation(len(own))]
        lists[name] = own.set_axis(own.index.map([str.lower, " {} ".format, str.upper][number]), axis=0)
    found = matched({name: table(own) for name, own in lists.items()}, tmp_path)
    keyed = [own.set_axis(own.index.str.strip().str.upper(), axis=0) for own in lists.values()]
    merged = keyed[0].join(keyed[1], how="inner").join(keyed[2], how="inner")
    assert 100 < len(merged) < len(people)
    keys, *others = ([record.strip().upper() for record in found[name].arrow["id"].to_pylist()] for name in NAMES)
    assert others == [keys, keys]
    assert sorted(keys) == sorted(merged.index)
    shared = pd.Index(found["first"].ids)
    assert all(found[name].ids == shared.tolist() for name in NAMES)
    frames = [
        found[name].arrow.to_pandas()[list(lists[name])].set_axis(shared, axis=0).replace({None: np.nan})
        for name in NAMES
    ]
    contract = made(paper, "columns", [len(keys)] * 3)
    check_cells(contract, merged.loc[keys].set_axis(shared, axis=0), frames, prepared(contract, frames))


def matched(lists: dict[str, Table], directory: Path) -> dict[str, Table]:
    """What each party's vault has of its list after a matching, whose parties are threads."""
    vaults = {name: Vault(directory / name, MasterKey.generate()) for name in lists}
    for name, vault in vaults.items():
        vault.add("list", lists[name], created=NOW)
    program, rules = Matching(sizes=tuple(own.rows for own in lists.values())), MatchRules(minimum=1)

    def party(name: str, channel: MemoryChannel) -> np.ndarray:
        vault, found = vaults[name], Found()
        own = vault.open("list")
        records = keyed_records(ids_of(own, ["id"]), rules, KEY, own.places)
        same = match(program, *bound(channel), KEY, records, rules, ProgramLedger(program), NAMES, Entropy(), 1)
        for strip in _strips(same, KEY):
            found.add(strip)
        source = vault.manifest("list")
        kept = MatchedRows(source, lambda columns: vault.batches(source, columns), found)
        vault.add("matched", kept, created=NOW)
        return same.rows

    for one in played([partial(party, name) for name in lists]):
        assert one.error is None, one.error
    return {name: vault.open("matched") for name, vault in vaults.items()}


def check_cells(contract: Contract, frame: pd.DataFrame, frames: list[pd.DataFrame], results: list[Any]) -> None:
    """All that the parties have of the joint matrix, against the pooled table."""
    program, division = contract.program, contract.division
    parts = [frames[rank] for rank in next(side for side in division.sides if len(side) == division.parts)]
    sides = [split(part.index.tolist(), contract.split_key, "0.25") for part in parts]
    training, held_out = (
        [record for part, side in zip(parts, sides, strict=True) for record in part.index[side[which]]]
        for which in (0, 1)
    )
    fit, positive = pd.Index(training), frame["outcome"] == "yes"
    joint, y = np.zeros((program.rows, program.columns)), np.zeros(program.rows)
    for rank, (ids, placed, *_) in enumerate(results):
        joint[:, program.held(rank)] += placed.block
        y += 0 if placed.labels is None else placed.labels
        assert ids[0] == [record for record in training if record in frames[rank].index]
    expected = []
    for side in division.sides:
        names, owners = KINDS[contract.partition][side[0]], [fit.intersection(frames[rank].index) for rank in side]
        columns = [by_pandas(name, frame[name], fit, positive, owners) for name in names]
        wanted = standardised(pd.concat(columns, axis=1), fit).to_numpy()
        expected.append(wanted[frame.index.get_indexer(fit)])
        for rank in side:
            own = results[rank][0][1]
            assert own == [record for record in held_out if record in frames[rank].index]
            np.testing.assert_allclose(results[rank][2], wanted[frame.index.get_indexer(own)], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(joint, np.hstack(expected), rtol=1e-6, atol=1e-6)
    assert (y == positive[fit].to_numpy()).all()
    owners = {NAMES[rank]: fit.intersection(each.index) for rank, each in enumerate(frames)}
    check_values(contract, results, frame, fit, positive, owners)


def check_values(
    contract: Contract,
    results: list[Any],
    frame: pd.DataFrame,
    fit: pd.Index,
    positive: pd.Series,
    training: dict[str, pd.Index],
) -> None:
    """Information values: told to all alike, as the pooled table has them; weights to owners alone."""
    told = [told for *_, told in results]
    assert all(each.information_values == told[0].information_values for each in told)
    names = [(NAMES[side[0]], name) for side in contract.division.sides for name in contract.parties[side[0]].columns]
    weighed = [(party, name) for party, name in names if RECIPES[name].get("weight_of_evidence")]
    assert [(each.party, each.column) for each in told[0].information_values] == weighed
    for each in told[0].information_values:
        rank = NAMES.index(each.party)
        owners = [training[NAMES[one]] for one in contract.division.side(rank)]
        bins = bins_of(frame[each.column], RECIPES[each.column], fit, owners).loc[fit]
        weights, value = weight_of_evidence(bins, positive[fit], contract.division.is_divided(rank))
        assert abs(each.value - value) <= 0.0005 + 1e-9
        for other, evidence in enumerate(told):
            own = {one.column: one for one in evidence.evidence}
            assert (each.column in own) == (each.column in contract.parties[other].columns)
            if each.column in own:
                np.testing.assert_allclose(own[each.column].weights[: len(weights)], weights, rtol=1e-12, atol=1e-12)


def test_what_is_told_is_not_printed(paper):
    """Neither weights nor counts nor levels show in what a process may log."""
    generator = np.random.default_rng(1)
    frame = drawn(generator, 200)
    contract = made(paper, "columns", [200] * 3)
    results = prepared(contract, shares_of("columns", frame, generator))
    encoding, told = results[0][3:]
    assert told.evidence
    assert "weights" not in repr(encoding) + repr(told)
    assert "Bern" not in repr(results[1][3:])
    assert Division.of("columns", contract.parties) == contract.division
