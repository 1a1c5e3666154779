"""The life of a session, as analyst and participants see it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.client import Gateway
from mpc.curves import Points
from parties.agreement.contract import check_approval
from parties.audit.events import ApprovalStored, ContractAltered, SessionFailed
from parties.errors import ContractError, GatewayError
from parties.keys.tls import utc_now
from parties.service.lifecycle import State
from parties.service.messages import (
    Fault,
    Figures,
    Head,
    Progress,
    Proposal,
    Refuse,
    Start,
    Stop,
    ToldModel,
    Validated,
    Waiting,
    Welcome,
    Withdraw,
    Withdrawn,
)
from parties.testimony.withdrawal import Withdrawal, check_withdrawal, sign_withdrawal


def progress(session: str, iteration: int, loss: float | None = None) -> Progress:
    counts = {"iteration": iteration, "of": 300, "rounds": iteration * 3, "bytes_sent": 7}
    return Progress(session=session, stage="training", **counts, loss=loss)


def test_whole_life(consortium, client: Gateway, make_plan):
    """A plan becomes a contract, all approve, it runs, its progress shows, all finish."""
    created = client.propose(make_plan())
    contract = consortium.started()
    assert contract.digest == created.id
    assert client.contract(created.id) == contract
    assert client.session(created.id).state is State.RUNNING
    seen = client.events(created.id)
    assert next(seen).view.state is State.RUNNING
    consortium.a.say(progress(created.id, 10, loss=0.5))
    event = next(seen)
    assert event.kind == "progress"
    counts = {"iteration": 10, "of": 300, "rounds": 30, "bytes_sent": 7}
    assert event.data == {"who": "clinic-a", "stage": "training", **counts, "loss": 0.5}
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(created.id))
    *_, last = seen
    assert last.view.state is State.COMPLETED
    view = client.session(created.id)
    assert [p.report.rounds for p in view.participants if p.report] == [30, 30, 30]
    assert view.participants[0].progress is not None
    assert view.participants[0].progress.loss == 0.5
    assert (view.waiting_for, view.fault) == ((), None)
    assert [item.id for item in client.sessions()] == [created.id]


VALIDATED = (Validated(C="0.1", loss=0.5), Validated(C="7", loss=0.25))
FIGURES = Figures(auc=0.75, log_loss=0.5, brier=0.125)
TABLE = Points(thresholds=(0.0,), positives=((0, 9), (10, 25)), negatives=((0, 15), (0, 15)))


def ended(consortium, client: Gateway, plan, figures):
    """A session that ended, the parties having told these figures."""
    session = client.propose(plan).id
    consortium.started()
    for daemon, told in zip(consortium.everybody, [*map(models, figures), ()], strict=True):
        daemon.say(daemon.finished(session, models=told)).settled()
    return client.session(session)


def models(figures, C="1.0"):
    """What is told of the one model."""
    return (ToldModel(C=C, positive="yes", figures=figures),)


def test_approvals_are_shown_as_they_were_signed(gateway, consortium, client: Gateway, make_plan):
    """Whoever sees the session verifies each signature with the contract's keys, from what REST alone answers."""
    session = client.propose(make_plan()).id
    consortium.proposed()
    assert client.approvals(session) == {}
    before = utc_now()
    consortium.b.say(consortium.b.approval(client.contract(session))).settled()
    assert set(client.approvals(session)) == {"clinic-b"}
    for daemon in (consortium.a, consortium.dealer):
        daemon.say(daemon.approval(client.contract(session)))
    for daemon in consortium.everybody:
        daemon.hear(Start)
    contract, found = client.contract(session), client.open(session).approvals()
    assert set(found) == {"clinic-a", "clinic-b", "dealer"}
    signed = {name: check_approval(contract, name, one.envelope) for name, one in found.items()}
    assert signed["clinic-b"].contract == session
    assert all(one.stored is not None and before <= one.stored <= utc_now() for one in found.values())
    with pytest.raises(ContractError):
        check_approval(contract, "clinic-a", found["clinic-b"].envelope)
    with gateway.http() as http:
        answered = http.get(f"/v1/sessions/{session}/approvals")
        shown = http.get(f"/sessions/{session}").text
        again = http.get(f"/v1/sessions/{session}/approvals", headers={"if-none-match": answered.headers["etag"]})
    assert again.status_code == 304
    assert f'href="/v1/sessions/{session}/approvals"' in shown
    for one in found.values():
        assert f'<time datetime="{one.stored.isoformat()}">' in shown


def test_figures_show_where_the_contract_discloses_them(consortium, client: Gateway, make_plan):
    """Figures of held-out rows are shown once both parties told the same, each as far as the contract names it."""
    assert ended(consortium, client, make_plan(), [FIGURES, FIGURES]).models == models(FIGURES)
    few = make_plan(evaluation={"figures": ["brier"]})
    assert ended(consortium, client, few, [FIGURES, FIGURES]).models == models(Figures(brier=0.125))
    none = ended(consortium, client, make_plan(evaluation={"figures": []}), [FIGURES, FIGURES])
    assert none.models == models(None)
    assert {item.report.models for item in none.participants if item.report} == {models(None), ()}


def test_models_show_that_the_contract_names(consortium, client: Gateway, make_plan):
    """A model of a C that the contract does not name is not shown, nor losses without a cross-validation."""
    session = client.propose(make_plan()).id
    consortium.started()
    told = (*models(FIGURES), *models(FIGURES, C="7"))
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session, models=told, validated=VALIDATED)).settled()
    view = client.session(session)
    assert (view.models, view.validated) == (models(FIGURES), ())


def test_a_cross_validation_shows(consortium, client: Gateway, make_plan):
    """Losses of left-out rows are shown once both parties told the same, with the models of the C that was taken."""
    session = client.propose(make_plan(model={"C": ["0.1", "7"], "folds": 3})).id
    consortium.started()
    for daemon in consortium.everybody:
        told = () if daemon is consortium.dealer else models(FIGURES, C="7")
        daemon.say(daemon.finished(session, models=told, validated=VALIDATED)).settled()
    view = client.session(session)
    assert (view.models, view.validated) == (models(FIGURES, C="7"), VALIDATED)


def test_tables_show_where_the_contract_discloses_them(consortium, client: Gateway, make_plan):
    """A table that a party tells though no contract names it goes no further than the gateway's door."""
    told = FIGURES.model_copy(update={"roc": TABLE, "calibration": TABLE})
    asked = make_plan(evaluation={"figures": ["roc"]})
    assert ended(consortium, client, asked, [told, told]).models == models(Figures(roc=TABLE))
    assert ended(consortium, client, make_plan(), [told, told]).models == models(FIGURES)


def test_figures_that_differ_are_nobody_s(consortium, client: Gateway, make_plan):
    """If two parties tell different figures, each stands in its own name and none as the session's."""
    view = ended(consortium, client, make_plan(), [FIGURES, Figures(auc=1.0)])
    assert view.models == ()
    told = [item.report.models for item in view.participants if item.report]
    assert told == [models(FIGURES), models(Figures(auc=1.0)), ()]


@pytest.mark.parametrize(
    ("tol", "told", "shown"),
    [
        ("auto", [True, True], True),
        ("0.01", [False, False], False),
        ("auto", [True, False], None),
        ("0", [True, True], None),
    ],
)
def test_convergence_shows_where_the_contract_discloses_it(consortium, client, make_plan, tol, told, shown):
    """The bit is shown once both parties told the same, and only of a contract that asks for it."""
    session = client.propose(make_plan(model={"tol": tol})).id
    consortium.started()
    for daemon, bit in zip(consortium.everybody, [*told, None], strict=True):
        daemon.say(daemon.finished(session, converged=bit)).settled()
    assert client.session(session).converged is shown


def test_waiting_shows_who_and_why(consortium, client: Gateway, make_plan):
    """While an operator has to decide, everybody can see whom the session waits for."""
    session = client.propose(make_plan()).id
    contract = consortium.proposed()
    seen = client.events(session)
    assert next(seen).view.waiting_for == ("clinic-a", "clinic-b", "dealer")
    consortium.a.say(consortium.a.approval(contract))
    assert next(seen).view.waiting_for == ("clinic-b", "dealer")
    consortium.b.say(Waiting(session=session, reason="the policy asks for everything"))
    view = next(seen).view
    assert view.participants[1].waiting == "the policy asks for everything"
    assert view.state is State.PROPOSED


def test_refusal_ends_it_for_all(consortium, client: Gateway, make_plan):
    """One refusal stops the others with the reason, in the name of who refused whatever the message says."""
    session = client.propose(make_plan()).id
    consortium.proposed()
    fault = Fault(code="policy", who="clinic-a", what="too many columns", action="ask for fewer")
    consortium.b.say(Refuse(session=session, fault=fault))
    for daemon in (consortium.a, consortium.dealer):
        assert daemon.hear(Stop).fault == fault.model_copy(update={"who": "clinic-b"})
    view = client.session(session)
    assert (view.state, view.fault and view.fault.who) == (State.REFUSED, "clinic-b")


def word(daemon, session: str) -> Withdraw:
    """That this participant's consent ends."""
    withdrawal = Withdrawal(contract=session, name=daemon.name, public_key=daemon.identity.public.hex(), at=utc_now())
    return Withdraw(session=session, envelope=sign_withdrawal(daemon.identity, withdrawal))


@pytest.mark.parametrize(("begun", "state"), [(False, State.REFUSED), (True, State.FAILED)])
def test_a_withdrawal_ends_what_is_not_over(consortium, client: Gateway, make_plan, begun, state):
    """The session stops for all others, who get the party's own signed word; whoever was away gets it later."""
    session = client.propose(make_plan()).id
    contract = consortium.started() if begun else consortium.proposed()
    said = word(consortium.b, session)
    consortium.b.say(said).say(said).settled()
    for daemon in (consortium.a, consortium.dealer):
        stop, heard = daemon.hear(Stop), daemon.hear(Withdrawn)
        assert (stop.fault.code, stop.fault.who) == ("withdrawn", "clinic-b")
        assert check_withdrawal(contract, heard.name, heard.envelope).name == "clinic-b"
        daemon.settled()  # and nothing more: it was said twice, and passed on once
    view = client.session(session)
    assert (view.state, view.withdrawn) == (state, ("clinic-b",))


def test_a_withdrawal_after_the_end_is_passed_on(gateway, consortium, client: Gateway, make_plan):
    """A completed session stays completed; a participant that was away is told when it comes back."""
    session = client.propose(make_plan()).id
    consortium.started()
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session)).settled()
    consortium.a.hang_up()
    consortium.b.say(word(consortium.b, session)).settled()
    assert consortium.dealer.hear(Withdrawn).name == "clinic-b"
    view = client.session(session)
    assert (view.state, view.withdrawn) == (State.COMPLETED, ("clinic-b",))
    back = gateway.again(consortium.a).dial()
    back.hear(Welcome)
    assert back.hear(Withdrawn).session == session


def test_a_withdrawal_that_does_not_hold_is_dropped(consortium, client: Gateway, make_plan):
    """Of another contract, or by a dealer: nobody is told, and the session goes on."""
    session = client.propose(make_plan()).id
    consortium.proposed()
    forged = word(consortium.b, "ab" * 32).model_copy(update={"session": session})
    consortium.b.say(forged).settled()
    consortium.dealer.say(word(consortium.dealer, session)).settled()
    consortium.a.settled()
    view = client.session(session)
    assert (view.state, view.withdrawn) == (State.PROPOSED, ())


def test_failure_of_one_ends_it_for_all(consortium, client: Gateway, make_plan):
    """A worker that dies at one participant stops the session at all others, with its fault."""
    session = client.propose(make_plan()).id
    consortium.started()
    fault = Fault(code="worker", who="clinic-b", what="the worker was killed", action="propose again")
    consortium.b.say(consortium.b.finished(session, fault))
    assert consortium.a.hear(Stop).fault == fault
    assert consortium.dealer.hear(Stop).fault == fault
    assert client.session(session).state is State.FAILED


def test_fault_blames_nobody_outside(consortium, client: Gateway, make_plan):
    """A fault may name another participant of the session; any other name becomes the reporter's."""
    session = client.propose(make_plan()).id
    consortium.started()
    fault = Fault(code="engine.peer-lost", who="elsewhere", what="went away")
    consortium.b.say(consortium.b.finished(session, fault))
    assert consortium.a.hear(Stop).fault.who == "clinic-b"


def test_vanished_participant_is_named(consortium, client: Gateway, make_plan):
    """A participant whose stream is gone from a running session fails it within ten seconds, by name."""
    session = client.propose(make_plan()).id
    consortium.started()
    consortium.b.hang_up()
    fault = consortium.a.hear(Stop).fault
    assert (fault.who, fault.code) == ("clinic-b", "engine.peer-lost")
    assert "did not return within 5 s" in fault.what
    assert consortium.dealer.hear(Stop).fault == fault
    assert client.session(session).state is State.FAILED


def test_short_absence_is_forgiven(gateway, consortium, client: Gateway, make_plan):
    """A daemon that reconnects in time is told where its session stands, and the session goes on."""
    session = client.propose(make_plan()).id
    consortium.started()
    consortium.b.hang_up()
    back = gateway.again(consortium.b).dial()
    back.hear(Welcome)
    assert back.hear(Start).session == session
    for daemon in (consortium.a, back, consortium.dealer):
        daemon.say(daemon.finished(session))
    *_, last = client.events(session)
    assert last.view.state is State.COMPLETED


def test_reconnecting_daemon_gets_what_it_missed(gateway, consortium, client: Gateway, make_plan):
    """Proposals and cancellations reach a daemon that was away when they were made."""
    consortium.b.hang_up()
    cancelled, pending = client.propose(make_plan()).id, client.propose(make_plan()).id
    client.cancel(cancelled)
    back = gateway.again(consortium.b).dial()
    back.hear(Welcome)
    told = [back.incoming.get(timeout=30), back.incoming.get(timeout=30)]
    assert {type(message) for message in told} == {Stop, Proposal}
    assert next(message.session for message in told if isinstance(message, Stop)) == cancelled
    assert client.session(pending).state is State.PROPOSED


def test_start_waits_until_all_are_connected(gateway, consortium, client: Gateway, make_plan):
    """What all approved starts when the one who went away is back, not before."""
    session = client.propose(make_plan()).id
    contract = consortium.proposed()
    consortium.a.say(consortium.a.approval(contract)).settled()
    consortium.a.hang_up()
    seen = client.events(session)
    while next(seen).view.participants[0].online:
        pass
    for daemon in (consortium.b, consortium.dealer):
        daemon.say(daemon.approval(contract)).settled()
    view = client.session(session)
    assert (view.state, view.waiting_for) == (State.APPROVED, ("clinic-a",))
    back = gateway.again(consortium.a).dial()
    back.hear(Welcome)
    assert {daemon.hear(Start).session for daemon in (back, consortium.b, consortium.dealer)} == {session}


def test_cancel_stops_everybody(consortium, client: Gateway, make_plan):
    """The analyst's word ends a session at every participant, once."""
    session = client.propose(make_plan()).id
    consortium.started()
    assert client.cancel(session).state is State.CANCELLED
    for daemon in consortium.everybody:
        assert daemon.hear(Stop).fault.code == "cancelled"
    with pytest.raises(GatewayError, match="a session that is cancelled can't cancel"):
        client.cancel(session)


def test_approval_of_an_altered_contract_fails_it(gateway, consortium, client: Gateway, make_plan):
    """An approval that does not verify for the contract fails the session at once, for all; the log has who sent it."""
    session = client.propose(make_plan()).id
    contract = consortium.proposed()
    altered = contract.model_copy(update={"purpose": "something else"})
    consortium.b.say(consortium.b.approval(altered).model_copy(update={"session": session}))
    for daemon in consortium.everybody:
        fault = daemon.hear(Stop).fault
        assert (fault.who, fault.code) == ("clinic-b", "contract.altered")
    assert client.session(session).state is State.FAILED
    assert gateway.recorded(ApprovalStored, ContractAltered, SessionFailed) == [
        ContractAltered(session=session, who="clinic-b"),
        SessionFailed(session=session, reason="contract.altered", who="clinic-b"),
    ]


def test_approval_by_another_key_fails_it(gateway, consortium, client: Gateway, make_plan):
    """Nobody approves in another's name: not with another key, not on another's stream."""
    session = client.propose(make_plan()).id
    contract = consortium.proposed()
    consortium.b.say(consortium.a.approval(contract))
    assert consortium.a.hear(Stop).fault.who == "clinic-b"
    assert client.session(session).state is State.FAILED
    assert gateway.recorded(ApprovalStored, ContractAltered) == [ContractAltered(session=session, who="clinic-b")]


def test_loss_shows_only_where_disclosed(consortium, client: Gateway, make_plan):
    """A loss that the contract does not disclose to the session is not shown even if a daemon sends it."""
    session = client.propose(make_plan(disclosures={"loss_reports": 0})).id
    consortium.started()
    seen = client.events(session)
    next(seen)
    consortium.a.say(progress(session, 10, loss=0.5))
    assert next(seen).data["loss"] is None


@pytest.mark.usefixtures("consortium")
def test_outsider_can_not_touch_a_session(gateway, client: Gateway, make_plan):
    """A participant that is not part of a session is told so, whatever it says about it."""
    session = client.propose(make_plan()).id
    outsider = gateway.joined("clinic-c")
    outsider.say(Refuse(session=session, fault=Fault(code="policy", who="clinic-c", what="no")))
    assert outsider.hear(Stop).fault.code == "gateway.unknown-session"
    assert client.session(session).state is State.PROPOSED


def test_newest_log_head_is_kept(consortium, client: Gateway):
    """Participants' signed log heads are kept for whoever wants to compare them."""
    consortium.a.say(Head(note="old")).say(Head(note="new")).settled()
    assert {p.name: p.head for p in client.participants()}["clinic-a"] == "new"


def test_unapproved_session_expires(gateway, consortium, client: Gateway, make_plan):
    """A contract whose time runs out before all approved ends for everybody."""
    session = client.propose(make_plan(expires_in_hours=2)).id
    contract = consortium.proposed()
    consortium.a.say(consortium.a.approval(contract)).settled()
    gateway.time_ahead = timedelta(hours=1.9)
    assert consortium.a.settled()
    gateway.time_ahead = timedelta(hours=2.1)
    for daemon in consortium.everybody:
        assert daemon.hear(Stop).fault.code == "expired"
    assert client.session(session).state is State.EXPIRED


def test_running_session_does_not_expire(gateway, consortium, client: Gateway, make_plan):
    """What began in time may take its time."""
    session = client.propose(make_plan(expires_in_hours=2)).id
    consortium.started()
    gateway.time_ahead = timedelta(hours=3)
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session)).settled()
    assert client.session(session).state is State.COMPLETED


def test_restart_names_who_does_not_return(house, make_plan):
    """After a restart a running session fails with the name of who does not come back."""
    house.change("restart_grace_s = 30.0", "restart_grace_s = 0.5")
    with house.serve(), house.client() as client:
        consortium = house.consortium()
        session = client.propose(make_plan()).id
        consortium.started()
        house.hang_up()
    with house.serve(), house.client() as client:
        *_, last = client.events(session)
        assert last.view.fault is not None
        assert last.view.fault.who == "clinic-a"
        assert "clinic-a, clinic-b, dealer left" in last.view.fault.what


def test_sessions_survive_a_restart(house, make_plan):
    """A gateway that comes back knows its sessions, and a running one gets its time to gather again."""
    with house.serve():
        consortium = house.consortium()
        with house.client() as client:
            session = client.propose(make_plan()).id
        consortium.started()
    address = house.serving.control
    house.hang_up()
    house.change('control_address = "127.0.0.1:0"', f'control_address = "{address}"')
    with house.serve(), house.client() as client:
        assert client.session(session).state is State.RUNNING
        for daemon in consortium.everybody:
            back = house.again(daemon).dial()
            back.hear(Welcome)
            assert back.hear(Start).session == session
            back.say(back.finished(session))
        *_, last = client.events(session)
        assert last.view.state is State.COMPLETED
        house.hang_up()
