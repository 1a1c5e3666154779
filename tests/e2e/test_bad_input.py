"""What is wrong with an input is said in one line that names it, on every side, and nothing is left behind."""

import time

import pytest

from parties.agreement.plan import LabelPlan, PartyPlan
from parties.errors import PrivityError
from parties.service import local
from parties.service.lifecycle import State
from tests.e2e.world import ID, LABEL, PROMPT_S, privity, tables, until

X, Y = tables("diabetes")
IDS = [f"R{row:05d}" for row in range(len(X))]


def column(values) -> list[str]:
    return [repr(float(value)) for value in values]


BAD_FILES = {
    "not a table": (b"\x89PNG\r\n\x1a\n\x00\x00", "bad.csv"),
    "nothing": (b"", "bad.csv"),
    "ragged": (b"record,a\nR1,1,2\nR2,3\n", "line 2"),
    "no id column": (b"key,a\nR1,1\nR2,2\n", "record"),
    "a missing id": (b"record,a\nR1,1\n,2\n", "record"),
    "a duplicated id": (b"record,a\nR1,1\nR1,2\n", "record"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_leaves_the_vault_unchanged(world, tmp_path, case):
    """A file that can't be a table is refused by the running node in one line, and its vault and log stay whole."""
    content, named = BAD_FILES[case]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    home = world.directory / "org-0"
    before = privity("data", "list", "--json", "--home", home).out
    done = privity("data", "add", "bad", path, "--id", ID, "--home", home)
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert named in done.err
    assert "R1" not in done.err
    assert privity("data", "list", "--json", "--home", home).out == before


@pytest.fixture(scope="module")
def spoilt(world):
    """A data set at org-0 and one at the label's owner in which several columns are of no use."""
    half = len(X) // 2
    world.add(
        "org-0",
        "spoilt",
        {
            ID: IDS,
            "good": column(X[:, 0]),
            "constant": ["3.0"] * len(X),
            "text": ["yes" if value > 0 else "no" for value in X[:, 1]],
            "gap": [*column(X[:-1, 2]), ""],
        },
    )
    three = ["low", "high", "middle"]
    world.add(
        "org-2",
        "spoilt",
        {
            ID: IDS,
            "good": column(X[:, 8]),
            LABEL: Y,
            "three": [three[row % 3] for row in range(len(X))],
            "numbers": column(range(len(X))),
            "one": ["high"] * len(X),
        },
    )
    world.add("org-0", "short", {ID: IDS[:half], "good": column(X[:half, 0])})
    world.add("org-0", "others", {ID: [f"S{row:05d}" for row in range(len(X))], "good": column(X[:, 0])})
    return world


def changed(world, party: str, **changes):
    """The plan with one party's part changed."""
    parties = tuple(
        PartyPlan(**{**part.model_dump(), **changes}) if part.name == party else part for part in world.plan.parties
    )
    return world.plan.model_copy(update={"parties": parties})


def labelled(world, name: str, positive: str = "high"):
    plan = changed(world, "org-2", data="spoilt", columns=("good",))
    return plan.model_copy(update={"label": LabelPlan(party="org-2", column=name, positive=positive)})


REFUSED_AT_ONCE = {
    "unknown column": (lambda world: changed(world, "org-0", columns=("x0", "nowhere")), "nowhere"),
    "unknown data set": (lambda world: changed(world, "org-0", data="nowhere"), "nowhere"),
    "unknown party": (
        lambda world: world.plan.model_copy(
            update={"parties": (*world.plan.parties, PartyPlan(name="nobody", data="a", columns=("b",)))}
        ),
        "nobody",
    ),
    "unknown dealer": (lambda world: world.plan.model_copy(update={"dealer": "nobody"}), "nobody"),
    "the dealer is a party": (lambda world: world.plan.model_copy(update={"dealer": "org-1"}), "org-1"),
    "text as a feature": (lambda world: changed(world, "org-0", data="spoilt", columns=("good", "text")), "text"),
    "a missing value": (lambda world: changed(world, "org-0", data="spoilt", columns=("good", "gap")), "gap"),
    "unknown label": (lambda world: labelled(world, "nowhere"), "nowhere"),
    "a label of one value": (lambda world: labelled(world, "one"), "one"),
    "other row counts": (lambda world: changed(world, "org-0", data="short", columns=("good",)), "221"),
}


@pytest.mark.parametrize("case", REFUSED_AT_ONCE)
def test_plan_that_fits_no_data_is_refused_at_once(spoilt, case):
    """What the published schemas tell is said to the analyst, and no node hears of a session."""
    make, named = REFUSED_AT_ONCE[case]
    before = {view.id for view in spoilt.client.sessions()}
    with pytest.raises(PrivityError) as refusal:
        spoilt.client.propose(make(spoilt))
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert {view.id for view in spoilt.client.sessions()} == before


REFUSED_BY_THE_OWNER = {
    "a constant column": (
        lambda world: changed(world, "org-0", data="spoilt", columns=("good", "constant")),
        "org-0",
        "constant",
    ),
    "a label of three texts": (lambda world: labelled(world, "three"), "org-2", "three"),
    "a label of many numbers": (lambda world: labelled(world, "numbers", "1"), "org-2", "numbers"),
    "a positive class that is not there": (lambda world: labelled(world, LABEL, "elevated"), "org-2", LABEL),
}


@pytest.mark.parametrize("case", REFUSED_BY_THE_OWNER)
def test_data_that_can_not_be_trained_on_is_refused_by_its_owner(spoilt, case):
    """When its operator agrees, the owner looks at its values and finds what is wrong; everybody hears who and why."""
    make, owner, named = REFUSED_BY_THE_OWNER[case]
    session = spoilt.client.propose(make(spoilt)).id
    until("the proposal", lambda: spoilt.state(owner, session) == State.PROPOSED)
    unread = privity("session", "approve", session[:12], "--home", spoilt.directory / owner)
    assert (unread.status, "Sign this contract?" in unread.out, "others can tell besides" in unread.out) == (
        1,
        True,
        True,
    )
    assert spoilt.state(owner, session) == State.PROPOSED
    began = time.monotonic()
    done = privity("session", "approve", session[:12], "--home", spoilt.directory / owner, "--yes")
    assert done.status == 1
    assert named in done.err
    view = spoilt.ended(session)
    assert time.monotonic() - began < PROMPT_S
    assert view.state is State.REFUSED
    assert view.fault is not None
    assert view.fault.who == owner
    assert named in view.fault.what
    assert view.fault.action
    for party in spoilt.parties:
        assert spoilt.state(party, view.id) in {State.REFUSED, State.CANCELLED}


def test_unequal_ids_end_the_session_with_both_counts(spoilt):
    """Lists of equal length and other ids: every side says so, with counts, before any model is computed."""
    session = spoilt.begin(changed(spoilt, "org-0", data="others", columns=("good",)))
    began = time.monotonic()
    view = spoilt.ended(session)
    assert view.state is State.FAILED
    assert view.fault is not None
    assert "442 rows" in view.fault.what
    assert "not the same" in view.fault.what
    assert time.monotonic() - began < 3 * PROMPT_S
    for party in spoilt.parties:
        assert spoilt.state(party, session) == State.FAILED


def test_classes_that_differ_end_a_session_by_rows(spoilt):
    """Parties with records of their own, one of which writes its labels otherwise: all hear which, and no class."""
    for party in spoilt.parties:
        negative = "LESS" if party == "org-1" else "less"
        labels = [negative if label == "low" else label for label in Y]
        spoilt.add(party, "own-rows", {ID: IDS, "good": column(X[:, 0]), LABEL: labels})
    parties = tuple(PartyPlan(name=party, data="own-rows", columns=("good",)) for party in spoilt.parties)
    label = LabelPlan(column=LABEL, positive="high")
    changes = {"partition": "rows", "parties": parties, "label": label}
    view = spoilt.ended(spoilt.begin(spoilt.plan.model_copy(update=changes)))
    assert view.state is State.FAILED
    assert view.fault is not None
    assert "classes at org-" in view.fault.what
    assert "org-1" in view.fault.what
    assert "less" not in view.fault.line().lower()


def test_a_record_at_two_partners_ends_a_session_in_blocks(spoilt):
    """Of as many records as there must be, one is held twice and one by nobody: all hear it, and no id."""
    first = len(X) // 3
    spoilt.add("org-0", "part", {ID: IDS[:first], "good": column(X[:first, 0])})
    spoilt.add("org-1", "part", {ID: IDS[first - 1 : -1], "good": column(X[first - 1 : -1, 0])})
    spoilt.add("org-2", "all", {ID: IDS, "other": column(X[:, 8]), LABEL: Y})
    parties = tuple(PartyPlan(name=name, data="part", columns=("good",)) for name in ("org-0", "org-1"))
    parties = (*parties, PartyPlan(name="org-2", data="all", columns=("other",)))
    changes = {
        "partition": "blocks",
        "parties": parties,
        "label": LabelPlan(party="org-2", column=LABEL, positive="high"),
    }
    view = spoilt.ended(spoilt.begin(spoilt.plan.model_copy(update=changes)))
    assert view.state is State.FAILED
    assert view.fault is not None
    assert "org-0 (147 rows) and org-1 (295 rows)" in view.fault.what
    assert "two that have the same columns have the same record" in view.fault.what
    assert not any(record in view.fault.line() for record in IDS)


def test_operator_refuses(world):
    """An operator's no ends the session for everybody, with the name of who said it."""
    session = world.client.propose(world.plan).id
    home = world.directory / "org-1"
    until("the contract", lambda: world.state("org-1", session) == State.PROPOSED)
    done = privity("session", "refuse", session[:12], "--home", home)
    assert done.status == 0, done.err
    view = world.ended(session)
    assert view.state is State.REFUSED
    assert view.fault.who == "org-1"
    assert "operator" in view.fault.what


def test_policy_refuses(world):
    """What a node's policy forbids is refused by the node, with the rule."""
    policy = world.directory / "org-0" / "policy.toml"
    kept = policy.read_text()
    policy.write_text(kept.replace("min_training_rows = 50", "min_training_rows = 5000"))
    try:
        view = world.ended(world.client.propose(world.plan).id)
    finally:
        policy.write_text(kept)
    assert view.state is State.REFUSED
    assert view.fault.who == "org-0"
    assert "min_training_rows" in view.fault.what


def test_partner_that_nobody_confirmed_is_refused(world):
    """Without a confirmed fingerprint there is no session with that organisation."""
    home = world.directory / "org-0"
    fingerprint = world.consortium.identities()["org-1"]
    local.call(home, "partner-remove", name="org-1")
    try:
        view = world.ended(world.client.propose(world.plan).id)
    finally:
        local.call(home, "partner-add", name="org-1", fingerprint=fingerprint)
    assert view.state is State.REFUSED
    assert view.fault.who == "org-0"
    assert "org-1" in view.fault.what


def test_a_good_session_still_runs(spoilt):
    """After everything that was refused, vaults, logs and gateway are as they were: a good plan trains."""
    assert spoilt.train(spoilt.plan).state is State.COMPLETED


def test_what_the_data_hold_answers_nobody_unasked(spoilt):
    """Before its operator agrees, a node says the same of a class that occurs and of one that does not."""
    ids = [spoilt.client.propose(labelled(spoilt, LABEL, positive)).id for positive in ("high", "elevated")]
    for session in ids:
        until("the proposal", lambda session=session: spoilt.state("org-2", session) == State.PROPOSED)
        spoilt.client.cancel(session)
    shown = [next(p for p in spoilt.ended(session).participants if p.name == "org-2") for session in ids]
    assert shown[0] == shown[1]
