"""The dealer's process: started as the daemon starts it, it serves one session and says how that ended."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from pydantic import SecretStr

from mpc.channel import MemoryChannel
from mpc.disclosure import ProgramLedger
from mpc.errors import PeerLost, PrivityError
from mpc.held_out import OwnRows
from mpc.keys import agree
from mpc.runtime import Runtime
from mpc.training import train
from parties.process.dealer_link import DealerLink
from parties.process.job import Answer, DealerJob, PartyJob, TlsMaterial, job_line
from parties.process.meeting import connect_dealer
from parties.service.dealer import PROCESS
from tests.parties.doors import Opened, opened
from tests.parties.wires import DEADLINE_S, at_once

PARTIES = ("clinic-a", "clinic-b")
SIGNED = Answer(signature="5a" * 64).model_dump_json().encode() + b"\n"  # the daemon's, on each party's key


def told(consortium, door: Opened, name: str, inbox_fd: int) -> dict:
    """What every process of the session is told."""
    tls = consortium.keys[name]
    return {
        "name": name,
        "contract": consortium.contract.canonical().decode(),
        "approvals": {each: consortium.approval(each, endpoint=door.endpoint) for each in consortium.keys},
        "epoch": 1,
        "tls": TlsMaterial(key_pem=SecretStr(tls.key_pem.decode()), certificate=tls.certificate),
        "inbox_fd": inbox_fd,
    }


@contextmanager
def process(line: bytes, *descriptors: int) -> Iterator[subprocess.Popen]:
    """A dealer's process that was given this job."""
    with subprocess.Popen(
        PROCESS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=descriptors
    ) as child:
        child.stdin.write(line)
        child.stdin.flush()
        try:
            yield child
        finally:
            child.kill()


def last_word(child: subprocess.Popen) -> tuple[int, dict]:
    """How the process ended, and what it said last."""
    out, errors = child.communicate(timeout=DEADLINE_S)
    assert b"PRIVATE KEY" not in out + errors
    return child.returncode, json.loads(out.splitlines()[-1])


@pytest.fixture
def serving(consortium) -> Iterator[tuple[subprocess.Popen, list[DealerLink]]]:
    """A dealer's process, and the links of both clinics to it."""
    with opened() as door, door.inbox(consortium.contract.digest) as inbox:
        job = DealerJob(**told(consortium, door, "dealer", inbox.fileno()))
        with process(job_line(job) + len(PARTIES) * SIGNED, inbox.fileno()) as child:
            links = at_once(*(lambda name=name: link(consortium, door, name) for name in PARTIES))
            yield child, links
            for each in links:
                each.close()


def link(consortium, door: Opened, name: str) -> DealerLink:
    with socket.socket() as unused:
        job = PartyJob(
            **told(consortium, door, name, unused.fileno()), data_key=SecretStr("00"), manifest="{}", data_path="/none"
        )
        return connect_dealer(job, consortium.contract, consortium.keys[name], time.monotonic() + DEADLINE_S)


def test_it_serves_a_session_to_its_end(serving, consortium):
    """Two parties train with the correlations of a real process, which then says how much it sent and ends."""
    child, links = serving
    program, digest = consortium.contract.program, bytes.fromhex(consortium.contract.digest)
    generator = np.random.default_rng(1)
    rows, held_out = program.rows, program.evaluation.rows
    blocks = [generator.normal(size=(rows + held_out, block.shape[1])).clip(-4, 4) for block in program.blocks]
    y = (blocks[0][:, 0] > 0).astype(np.int64)

    def party(channel: MemoryChannel):
        rank = channel.rank
        keys = agree(channel, links[rank], digest, 1)
        assert keys.dealer_signature.hex() == "5a" * 64
        with Runtime(channel, links[rank], keys, ProgramLedger(program), program, digest, lambda _: None) as runtime:
            labels = y if rank in program.label_owners else None
            others = OwnRows(blocks[rank][rows:], None if labels is None else labels[rows:])
            fit = train(program, blocks[rank][:rows], None if labels is None else labels[:rows], runtime, others)
            return fit.models[0]

    fits = at_once(*(lambda c=c: party(c) for c in MemoryChannel.mesh(2)))
    assert fits[0].losses == fits[1].losses
    assert 0 < fits[0].losses[-1] < np.log(2)
    assert fits[0].figures == fits[1].figures
    assert 0.9 < fits[0].figures["auc"] <= 1
    status, done = last_word(child)
    assert status == 0
    assert done["type"] == "done"
    assert done["bytes_sent"] > 1000


class Modified:
    """A party's link to the dealer that asks for another kind of tuple than its engine."""

    def __init__(self, inner: DealerLink) -> None:
        self._inner = inner
        self.receive, self.close = inner.receive, inner.close

    def send(self, message: bytes) -> None:
        self._inner.send(message.replace(b'"kind": "binary"', b'"kind": "square"'))


def test_it_refuses_what_the_program_does_not_list(serving, consortium):
    """A modified worker asks a real process for another kind: it says which party, and that this is not the program's;
    nobody gets a model.
    """
    child, links = serving
    links = [links[0], Modified(links[1])]
    program, digest = consortium.contract.program, bytes.fromhex(consortium.contract.digest)
    values = np.random.default_rng(1).normal(size=(program.rows + program.evaluation.rows, 3)).clip(-4, 4)
    y = (values[:, 0] > 0).astype(np.int64)

    def party(channel: MemoryChannel) -> PrivityError:
        rank, link = channel.rank, links[channel.rank]
        X, labels = values[:, program.held(rank)], y if rank in program.label_owners else None
        try:
            keys = agree(channel, link, digest, 1)
            with Runtime(channel, link, keys, ProgramLedger(program), program, digest) as runtime:
                first = slice(program.rows)
                others = OwnRows(X[program.rows :], None if labels is None else labels[program.rows :])
                train(program, X[first], None if labels is None else labels[first], runtime, others)
        except PrivityError as error:
            channel.close()
            return error
        pytest.fail("the run went on")

    errors = at_once(*(lambda c=c: party(c) for c in MemoryChannel.mesh(2)))
    assert all(isinstance(error, PeerLost) for error in errors)
    assert any("dealer" in error.who for error in errors)
    status, broken = last_word(child)
    assert status == 1
    assert (broken["type"], broken["code"]) == ("broken", "engine.protocol")
    assert "clinic-b asked for another kind where binary of" in broken["what"]
    assert (broken["who"], broken["refused"]) == (
        "clinic-b",
        {"name": "square", "shape": [], "expected": "binary"},
    )


def test_it_names_a_party_that_vanishes(serving, consortium):
    """One party's end is the session's: the process says whose it was, and the other party is told at once."""
    child, links = serving
    channels, digest = MemoryChannel.mesh(2), bytes.fromhex(consortium.contract.digest)
    at_once(*(lambda c=c: agree(c, links[c.rank], digest, 1) for c in channels))
    links[1].close()
    with pytest.raises(PeerLost, match="dealer closed its connection"):
        [links[0].receive() for _ in range(10_000)]
    status, broken = last_word(child)
    assert status == 1
    assert (broken["type"], broken["code"], broken["who"]) == ("broken", "engine.peer-lost", "clinic-b")


def test_it_serves_no_party_s_job(consortium):
    """A job of another kind is refused in words, and nothing is served."""
    with opened() as door, socket.socket() as unused:
        job = PartyJob(
            **told(consortium, door, "clinic-a", unused.fileno()),
            data_key=SecretStr("00"),
            manifest="{}",
            data_path="/",
        )
    with process(job_line(job)) as child:
        status, broken = last_word(child)
    assert status == 1
    assert broken["what"] == "a party's job came to a dealer's process"
