"""Record matching by real processes: lists that overlap in part become data sets of the same records, which train."""

from __future__ import annotations

import json
import threading
import unicodedata
import zipfile
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from parties.agreement.match_plan import MatchingPlan
from parties.audit.events import CommitmentReceived, CommitmentSigned, DealerKeyBound, TranscriptSigned
from parties.audit.snapshot import locate, take
from parties.columns.preparation import split
from parties.data.data_set import Manifest
from parties.data.vault import Vault
from parties.outcome.told import path_of, read
from parties.service.home import Home
from parties.service.lifecycle import State
from parties.service.store import SessionStore
from tests.e2e.world import ID, LABEL, privity, tables, until

DATA, RESULT = "patients", "matched-patients"
PAIR = ("org-0", "org-1")
TOLERANCE = 5e-3  # the model's distance from the optimum after its iterations, and the engine's rounding
COMMON = range(60, 400)  # of the table's 442 rows
LISTS = {"org-0": range(400), "org-1": range(30, 430), "org-2": range(60, 442)}


def spelt(row: int, party: int) -> str:
    """One person's id as each organisation writes it."""
    plain = f"Müller-{row:04d}"
    return (plain, f"  {unicodedata.normalize('NFD', plain).upper()} ", f"MÜLLER-{row:04d}")[party]


@pytest.fixture(scope="module")
def lists(world):
    """Overlapping parts of a table in every vault, each in an order and a spelling of its own."""
    X, y = tables("diabetes")
    for number, columns in enumerate(np.array_split(np.arange(X.shape[1]), len(world.parties))):
        rows = np.random.default_rng(number).permutation(LISTS[f"org-{number}"])
        held = {ID: [spelt(row, number) for row in rows]}
        held |= {f"x{column}": [repr(float(X[row, column])) for row in rows] for column in columns}
        if number == len(world.parties) - 1:
            held[LABEL] = [y[row] for row in rows]
        world.add(f"org-{number}", DATA, held)
    return X, y


def plan(world, **changes):
    content = {
        "kind": "matching",
        "purpose": "find the patients whom all know",
        "dealer": world.plan.dealer,
        "result": RESULT,
        "rules": {"minimum": 50},
        "parties": [{"name": name, "data": DATA} for name in world.parties],
    }
    return MatchingPlan.model_validate(content | changes)


@pytest.fixture(scope="module")
def matched(world, lists):
    """A completed matching."""
    assert len(lists[0]) == 442
    view = world.train(plan(world))
    assert view.state == State.COMPLETED, view.fault
    return view


def vault(world, name) -> Vault:
    home = Home(world.directory / name)
    return Vault(home.path("vault"), home.master_key())


def events(world, name, session):
    found = [entry.event for entry in take(locate(world.directory / name)).entries()]
    return [event for event in found if getattr(event, "session", None) == session]


def test_all_have_the_common_rows_under_the_same_ids(world, matched):
    """Exactly the records that all hold, in one order, under ids that are none of anybody's; not shared by itself."""
    tables_of = [vault(world, name).open(RESULT) for name in world.parties]
    assert tables_of[0].ids == tables_of[1].ids == tables_of[2].ids
    for number, table in enumerate(tables_of):
        own = table.arrow[ID].to_pylist()
        assert {int(record.strip()[-4:]) for record in own} == set(COMMON)
        assert own != sorted(own)
        assert [int(record.strip()[-4:]) for record in own] == [
            int(record.strip()[-4:]) for record in tables_of[0].arrow[ID].to_pylist()
        ], number
        assert not set(own) & set(table.ids)
    manifest = vault(world, "org-0").manifest(RESULT)
    assert isinstance(manifest, Manifest)
    assert not manifest.shareable
    assert manifest.origin is not None
    assert (manifest.origin.session, manifest.origin.source, manifest.origin.id_column) == (matched.id, DATA, ID)
    shown = privity("data", "list", "--home", world.directory / "org-0")
    assert f"{RESULT}  {len(COMMON)} rows" in shown.out
    assert f"matched from {DATA} by session {matched.id[:12]}" in shown.out


def test_every_log_says_what_was_told_before_it_was(world, matched):
    """Counts, and who was told of how many of its own records: the same in all logs, before the data set."""
    for name in world.parties:
        found = events(world, name, matched.id)
        told = [
            (event.name, event.recipients, event.shape)
            for event in found
            if event.type == "session:disclosure:recorded"
        ]
        everybody = ("parties:org-0,org-1,org-2",)
        assert told == [
            ("matches", everybody, (4,)),
            *(("matched", (f"party:{party}",), (len(COMMON),)) for party in world.parties),
        ]
        kinds = [event.type for event in found]
        last = len(kinds) - 1 - kinds[::-1].index("session:disclosure:recorded")
        assert last < kinds.index("vault:data:matched") < kinds.index("session:run:completed")
        compared = [event for event in found if event.type == "session:transcript:compared"]
        assert [event.equal for event in compared] == [True, True]


def test_what_each_sent_is_signed_and_compared(world, matched):
    """Three stages of every party stand in every log, before the first telling, before the second, and at the end."""
    for name in world.parties:
        found = events(world, name, matched.id)
        own = [event.stage for event in found if isinstance(event, CommitmentSigned)]
        came = [event for event in found if isinstance(event, CommitmentReceived)]
        assert own == [1, 2, 3]
        assert all(event.equal for event in came)
        assert {(event.partner, event.stage) for event in came} == {
            (party, stage) for party in world.parties if party != name for stage in own
        }
        assert [event.partner for event in found if isinstance(event, DealerKeyBound)] == [world.plan.dealer]
        order = [event.type for event in found if isinstance(event, CommitmentSigned) or hasattr(event, "clause")]
        signed, told = CommitmentSigned.type, "session:disclosure:recorded"
        assert [kind for kind in order if kind in {signed, told}] == [signed, told, signed, *[told] * 3, signed]


def test_the_matched_sets_train(world, lists, matched, tmp_path):
    """Once shared they are data sets like others: the model is that of scikit-learn on the common rows.

    Whoever asks for a person by the organisation's own id is told of the training as well.
    """
    X, y = lists
    for name in world.parties:
        world.share(name, RESULT)
    parties = tuple(party.model_copy(update={"data": RESULT}) for party in world.plan.parties)
    view = world.train(world.plan.model_copy(update={"parties": parties}))
    assert view.state == State.COMPLETED, view.fault
    contract = world.client.contract(view.id)
    table = vault(world, "org-0").open(RESULT)
    rows = [int(record.strip()[-4:]) for record in table.arrow[ID].to_pylist()]
    training, _ = split(table.ids, contract.split_key, contract.split.held_out)
    chosen = np.array(rows)[training]
    model = LogisticRegression(tol=1e-10, max_iter=10_000)
    model.fit(StandardScaler().fit_transform(X[chosen]), np.array(y)[chosen] == "high")
    found = []
    for name in world.parties:
        shown = privity("result", "show", view.id, "--json", "--home", world.directory / name)
        assert shown.status == 0, shown.err
        found += json.loads(shown.out)["models"][0]["standardised"]
    assert np.abs(np.array(found) - model.coef_[0]).max() < TOLERANCE
    home, file = world.directory / "org-1", tmp_path / "id"
    answers = []
    for row in (COMMON[0], LISTS["org-1"][0]):  # one whom all have, and one whom org-2 has not
        file.write_text(spelt(row, 1).strip())
        told = privity("audit", "subject", "--file", file, "--json", "--home", home)
        assert told.status == 0, told.err
        answers.append({one["session"]: one["answer"] for one in json.loads(told.out)})
    assert [answer[view.id] for answer in answers] == ["held", "not held"]
    assert [answer[matched.id] for answer in answers] == ["held", "held"]


def test_logs_of_a_matching_reconcile(world, matched, tmp_path):
    """Two organisations' bundles say the same of contract, disclosures and transcript."""
    bundles = [tmp_path / f"{name}.bundle" for name in world.parties[:2]]
    for name, bundle in zip(world.parties, bundles, strict=False):
        until("signatures", lambda name=name: len(signatures(world, name, matched.id)) == len(world.parties) - 1)
        done = privity("audit", "export", matched.id, "--out", bundle, "--home", world.directory / name)
        assert done.status == 0, done.err
    told = privity("audit", "reconcile", *bundles)
    assert told.status == 0, told.out + told.err
    with zipfile.ZipFile(bundles[0]) as archive:
        kept = json.loads(archive.read(f"commitments/{matched.id}.json"))
    places = {f"{name}/{stage}" for name in world.parties for stage in (1, 2, 3)}
    assert set(kept) == {*places, f"{world.plan.dealer}/0"}
    assert "'s signature on the transcript" in told.out


def signatures(world, name, session):
    return [event for event in events(world, name, session) if isinstance(event, TranscriptSigned)]


@pytest.mark.usefixtures("lists")
def test_an_estimate_tells_about_how_many(world, tmp_path):
    """A session of its own, of which analyst and parties learn a rounded number, and which keeps nothing."""
    path = tmp_path / "matching.toml"
    rows = "".join(f'[[parties]]\nname = "{name}"\ndata = "{DATA}"\n' for name in world.parties)
    path.write_text(
        f'kind = "matching"\npurpose = "is it worth it"\ndealer = "{world.plan.dealer}"\nresult = "{RESULT}"\n{rows}'
    )
    before = {name: vault(world, name).list() for name in world.parties}
    asking = threading.Thread(target=world.approve_next)
    asking.start()
    token = world.directory / "gateway" / "token"
    told = privity("match", "estimate", path, "--gateway", world.consortium.url, "--token-file", token, "--json")
    asking.join()
    assert told.status == 0, told.err
    found = json.loads(told.out)
    contract = world.client.contract(found["session"])
    assert contract.is_estimate
    assert found["about"] % contract.program.round_to == 0
    assert abs(found["about"] - len(COMMON)) <= contract.program.round_to // 2 + 6 * len(COMMON) ** 0.5
    words = f"about {found['about']:,} records are common to all"
    shown = privity("session", "show", found["session"], "--gateway", world.consortium.url, "--token-file", token)
    assert words in shown.out
    for name in world.parties:
        home = world.directory / name
        until(f"{name}'s end", lambda name=name: world.state(name, found["session"]) == State.COMPLETED)
        assert vault(world, name).list() == before[name]
        assert privity("result", "show", found["session"], "--home", home).out == words + "\n"
        assert privity("result", "verify", found["session"], "--home", home).status == 0
        named = [e.name for e in events(world, name, found["session"]) if e.type == "session:disclosure:recorded"]
        assert named == ["sample-matches", "estimate"]


@pytest.mark.usefixtures("lists")
def test_too_few_matches_end_everywhere_and_leave_nothing(world):
    """Everybody is told the same, without a number; no data set, and no record of who is common, stays anywhere."""
    fewest = min(map(len, LISTS.values()))
    view = world.train(plan(world, result="never", rules={"minimum": fewest}))
    assert view.state == State.FAILED
    assert view.fault.code == "data.too-few-matches"
    assert view.fault.what == "the parties have fewer records in common than agreed"
    for name in world.parties:
        assert "never" not in vault(world, name).list()
        found = events(world, name, view.id)
        told = {event.name for event in found if event.type == "session:disclosure:recorded"}
        assert told == {"matches"}
        assert [event.reason for event in found if event.type == "session:run:failed"] == ["data.too-few-matches"]


@pytest.mark.usefixtures("matched")
def test_a_name_that_is_taken_is_refused_before_anybody_is_asked_for_records(world):
    """The first operator to sign learns it; nothing runs."""
    session = world.client.propose(plan(world)).id
    signed = privity("session", "approve", session, "--home", world.directory / "org-0", "--yes")
    assert signed.status == 1
    assert RESULT in signed.err
    assert world.ended(session).state == State.REFUSED


@pytest.mark.usefixtures("lists")
def test_withdrawing_destroys_what_the_matching_left(world):
    """The party's own matched set goes; a training on the others' is refused in its name."""
    view = world.train(plan(world, result="short-lived"))
    assert view.state == State.COMPLETED, view.fault
    done = privity("session", "withdraw", view.id, "--yes", "--home", world.directory / "org-1")
    assert done.status == 0, done.err
    assert "short-lived" not in vault(world, "org-1").list()
    home = Home(world.directory / "org-0")
    until("org-0 to hear of it", lambda: "org-1" in SessionStore(home.path("state.sqlite")).withdrawals(view.id))
    for name in ("org-0", "org-2"):
        world.share(name, "short-lived")
    again = plan(world, parties=[{"name": name, "data": "short-lived"} for name in ("org-0", "org-2")], result="twice")
    refused = world.ended(world.client.propose(again).id)
    assert refused.state == State.REFUSED
    assert refused.fault.code == "withdrawn"


@pytest.mark.usefixtures("lists")
def test_what_two_parties_matched_is_matched_with_a_third(world):
    """A matched set is matched again by the own ids; it rests on both matchings, and goes with the first's consent."""
    pair = [{"name": name, "data": DATA} for name in ("org-0", "org-1")]
    first = world.train(plan(world, parties=pair, result="of-two"))
    assert first.state == State.COMPLETED, first.fault
    for name in ("org-0", "org-1"):
        world.share(name, "of-two")
    lists = [{"name": name, "data": "of-two", "id_columns": [ID]} for name in ("org-0", "org-1")]
    again = plan(world, parties=[*lists, {"name": "org-2", "data": DATA}], result="of-three")
    second = world.train(again)
    assert second.state == State.COMPLETED, second.fault
    found = [vault(world, name).open("of-three") for name in world.parties]
    assert found[0].ids == found[1].ids == found[2].ids
    assert {int(record.strip()[-4:]) for record in found[0].arrow[ID].to_pylist()} == set(COMMON)
    assert found[0].arrow.column_names.count("matched_id") == 1
    assert not set(found[0].ids) & set(vault(world, "org-0").open("of-two").ids)  # no two sessions' ids can be linked
    origins = [vault(world, name).manifest("of-three").origin for name in world.parties]
    assert [origin.sessions for origin in origins] == [(second.id, first.id), (second.id, first.id), (second.id,)]
    assert origins[0].id_column == ID
    done = privity("session", "withdraw", first.id, "--yes", "--home", world.directory / "org-1")
    assert done.status == 0, done.err
    assert not {"of-two", "of-three"} & set(vault(world, "org-1").list())


def test_persons_are_compared_by_several_columns_and_dates(world):
    """Name and birth together, dates as each organisation writes them; of a person's rows the last in the file counts.

    Rows without a date that can be read match nothing. The oracle is pandas on the files.
    """
    generator, names = np.random.default_rng(3), ["Ida", "Jon", "Kaj"]
    births = [date(1950, 1, 1) + timedelta(days=int(day)) for day in generator.choice(20_000, 60, replace=False)]
    persons = [(name, birth) for birth in births for name in names]  # neither alone tells who it is
    formats, own = ("%Y-%m-%d", "%d.%m.%Y"), {}
    for number, party in enumerate(PAIR):
        chosen = generator.permutation(
            np.concatenate([generator.permutation(180)[:150], generator.integers(0, 180, 40)])
        )
        rows = pd.DataFrame([persons[place] for place in chosen], columns=["name", "birth"])
        rows["born"] = [birth.strftime(formats[number]) for birth in rows["birth"]]
        rows.loc[generator.permutation(len(rows))[:10], "born"] = ["", "31.02.1990"] * 5
        rows["given"] = [f" {name.upper()}" if number else name for name in rows["name"]]
        rows["seen"] = [f"{value:.6f}" for value in generator.normal(size=len(rows))]
        rows[ID] = [f"{number}-{place:03d}" for place in generator.permutation(len(rows))]
        own[party] = rows
        world.add(party, "persons", {name: rows[name].tolist() for name in (ID, "given", "born", "seen")})
    rules = {
        "columns": [{"kind": "text"}, {"kind": "date", "formats": list(formats)}],
        "duplicates": "last",
        "minimum": 50,
    }
    lists = [{"name": name, "data": "persons", "id_columns": ["given", "born"]} for name in PAIR]
    view = world.train(plan(world, parties=lists, rules=rules, result="same-persons"))
    assert view.state == State.COMPLETED, view.fault
    known = [rows[~rows["born"].isin(["", "31.02.1990"])] for rows in own.values()]
    assert all(rows.duplicated(["name", "birth"]).any() for rows in known)
    lasts = [rows.drop_duplicates(["name", "birth"], keep="last").set_index(["name", "birth"]) for rows in known]
    common = lasts[0].index.intersection(lasts[1].index)
    found = [vault(world, name).open("same-persons") for name in PAIR]
    assert found[0].ids == found[1].ids
    assert 100 < len(common) == found[0].rows < 180
    order = []
    for table, rows in zip(found, own.values(), strict=True):
        by_id = rows.set_index(ID).loc[table.arrow[ID].to_pylist()]
        order.append(list(zip(by_id["name"], by_id["birth"], strict=True)))
    assert order[0] == order[1]
    assert set(order[0]) == set(common)
    for table, last in zip(found, lasts, strict=True):
        assert table.arrow["seen"].to_pylist() == [float(value) for value in last.loc[order[0], "seen"]]


def complaints(world, name):
    """What a node's operational log has of its workers' ends, so far."""
    lines = (world.directory / name / "daemon.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [line["what"] for line in found if line["event"] == "worker failed"]


def contents(directory):
    """Every file below it, by name."""
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_lists_without_a_common_record_leave_everything_as_it_was(world):
    """Vaults are the same to the byte; each side has one clear line, without a number; parties are told how many
    records each two share, and nobody anything else.
    """
    shared = {("org-0", "org-1"): range(20), ("org-0", "org-2"): range(100, 115), ("org-1", "org-2"): range(200, 210)}
    for number, name in enumerate(world.parties):
        rows = [row for pair, some in shared.items() if name in pair for row in some]
        rows += range(1000 * (number + 1), 1000 * (number + 1) + 60 - len(rows))
        world.add(name, "apart", {ID: [spelt(row, number) for row in rows], "x": [repr(row * 0.5) for row in rows]})
    before = {name: contents(world.directory / name / "vault") for name in world.parties}
    said = {name: complaints(world, name) for name in world.parties}
    lists = [{"name": name, "data": "apart"} for name in world.parties]
    view = world.train(plan(world, parties=lists, result="nobody"))
    sentence = "the parties have fewer records in common than agreed"
    assert (view.state, view.fault.code, view.fault.what) == (State.FAILED, "data.too-few-matches", sentence)
    token = world.directory / "gateway" / "token"
    shown = privity("session", "show", view.id, "--gateway", world.consortium.url, "--token-file", token)
    assert len([line for line in shown.out.splitlines() if sentence in line]) == 1
    assert len(before["org-0"]) > 1
    for name in world.parties:
        home = Home(world.directory / name)
        assert contents(home.path("vault")) == before[name]
        (kept,) = read(path_of(home.path("results"), view.id))
        assert kept.name == "matches"
        assert kept.numbers().tolist() == [20, 15, 10, 0]
        told = [event.name for event in events(world, name, view.id) if event.type == "session:disclosure:recorded"]
        assert told == ["matches"]
        assert complaints(world, name)[len(said[name]) :] == ["the parties have 0 records in common, 50 were agreed on"]
        assert [event.reason for event in events(world, name, view.id) if event.type == "session:run:failed"] == [
            "data.too-few-matches"
        ]
    for name in ("gateway", world.plan.dealer):
        assert not [path for path, content in contents(world.directory / name).items() if path.suffix == ".told"]
        assert b"records in common, 50" not in (world.directory / name / "daemon.log").read_bytes()
