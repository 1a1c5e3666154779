"""A consortium for all of a module's tests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.sandbox.consortium import Consortium
from tests.e2e.world import ID, World, assert_logs_verify, plan_for, split_columns


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three organisations with parts of the diabetes table, a dealer and a gateway; one for all of a module's tests."""
    place = tmp_path_factory.mktemp("consortium")
    scratch = tmp_path_factory.mktemp("files")
    files = split_columns(scratch, "diabetes", 3)
    plan = plan_for(files, max_iter=40)
    with Consortium(place, plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        yield World(consortium)
        identities = consortium.identities()
        consortium.stop()
        assert_logs_verify(place, identities)
        for log in place.glob("*/daemon.log"):
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            assert not [line for line in lines if "Traceback" in str(line)]
