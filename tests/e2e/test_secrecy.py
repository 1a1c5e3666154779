"""What a curious gateway, a curious dealer and whoever gets at the disks find of the data: nothing."""

from __future__ import annotations

import csv
import struct

import numpy as np
import pytest

from gateway.sandbox.consortium import Consortium, Daemon
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.match_rules import IdRule
from parties.columns.preparation import Standardiser
from parties.service.lifecycle import State
from tests.e2e.curious import HEARD
from tests.e2e.world import ID, World, plan_for, split_columns

SAMPLE = 300  # values of each column kind that are looked for
SCALES = (13, 14, 18, 31)
MATCHED = "matched"


class CuriousConsortium(Consortium):
    """Gateway and dealer are run by programs that write down what they hear."""

    def _launch(self, name, command, home):
        self.daemons[name] = Daemon(name, command, home, module="tests.e2e.curious")
        return self.daemons[name].wait_ready()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return split_columns(tmp_path_factory.mktemp("files"), "diabetes", 3)


@pytest.fixture(scope="module")
def world(tmp_path_factory, files):
    """A consortium after a matching and a training on what it left, its processes ended."""
    plan = plan_for(files, max_iter=60)
    with CuriousConsortium(tmp_path_factory.mktemp("consortium"), plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        consortium.daemons["dealer"].stop()
        home = consortium.directory / "dealer"
        consortium.daemons["dealer"] = Daemon("dealer", ["dealer", "serve"], home, module="tests.e2e.curious")
        consortium.daemons["dealer"].wait_ready()
        world = World(consortium)
        assert world.train(matching(plan)).state is State.COMPLETED
        for name in world.parties:
            world.share(name, MATCHED)
        parties = tuple(party.model_copy(update={"data": MATCHED}) for party in plan.parties)
        assert world.train(plan.model_copy(update={"parties": parties})).state is State.COMPLETED
    return world


def matching(plan):
    """Of the very lists, all of whose records are common."""
    return MatchingPlan.model_validate(
        {
            "kind": "matching",
            "purpose": "find the patients whom all know",
            "dealer": plan.dealer,
            "result": MATCHED,
            "parties": [{"name": party.name, "data": party.data} for party in plan.parties],
        }
    )


def read(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def texts(files):
    """Values as their owners wrote them, long enough not to stand anywhere by chance, and record ids."""
    found = set()
    for file in files.values():
        for row in read(file):
            found |= {value for value in row.values() if len(value) >= 10} | {row[ID]}
    generator = np.random.default_rng(7)
    return [value.encode() for value in generator.choice(sorted(found), SAMPLE, replace=False)]


@pytest.fixture(scope="module")
def ids(files):
    """Every record's id as its owner wrote it, and in the form in which ids are compared."""
    found = {row[ID] for file in files.values() for row in read(file)}
    return sorted({each.encode() for each in found | {IdRule().form()(each) for each in found}})


@pytest.fixture(scope="module")
def words(files):
    """Values as machines write them: raw and standardised, in floating point and at the ring's scales."""
    found = set()
    for file in files.values():
        rows = read(file)
        for name in rows[0]:
            if not name.startswith("x"):
                continue
            raw = np.array([[float(row[name])] for row in rows])
            standard = Standardiser.fit(raw, (name,), 32.0).apply(raw)
            for values in (raw[:20, 0], standard[:20, 0]):
                found |= {struct.pack("<d", value) for value in values} | {struct.pack(">d", value) for value in values}
                found |= {
                    struct.pack("<q", round(float(value) * 2**scale))
                    for value in values
                    for scale in SCALES
                    if abs(value) * 2**scale > 1 << 24  # shorter words could stand there by chance
                }
    return sorted(found)


def search(content, needles):
    return [needle for needle in needles if needle in content]


@pytest.mark.parametrize("name", ["gateway", "dealer"])
def test_nothing_of_the_data_is_heard(world, texts, ids, words, name):
    """Of everything that gateway and dealer are sent, nothing is a value, a record id or a share of one in clear."""
    content = (world.directory / name / HEARD).read_bytes()
    assert len(content) > 1000
    assert not search(content, texts)
    assert not search(content, ids)
    assert not search(content, words)


def test_the_search_finds_what_is_there(files, texts, ids, words):
    """The search is not blind: it finds the needles in the files that they were taken from."""
    everything = b"".join(file.read_bytes() for file in files.values())
    assert len(search(everything, texts)) == SAMPLE
    assert len(ids) == 2 * len(search(everything, ids))
    value = float(read(files["org-0"])[0]["x0"])
    assert search(b"----" + struct.pack("<d", value) + b"----", words)


def test_no_disk_holds_a_value_in_clear(world, texts, ids, words):
    """Vaults, stores, logs and what processes printed: no value and no record id lies anywhere in clear."""
    looked_at = [path for path in world.directory.rglob("*") if path.is_file()]
    assert len(looked_at) > 30
    for path in looked_at:
        content = path.read_bytes()
        assert not search(content, texts), path
        assert not search(content, ids), path
        assert not search(content, words), path


def test_homes_are_their_owners_alone(world):
    """Directories are 0700, keys, results and stores 0600."""
    for name in (*world.parties, "dealer", "gateway"):
        home = world.directory / name
        assert home.stat().st_mode & 0o077 == 0
        for path in [*home.glob("*.pem"), *home.glob("*.key"), *home.glob("results/*"), *home.glob("token")]:
            assert path.name == "gateway.pem" or path.stat().st_mode & 0o077 == 0, path  # that one is public
