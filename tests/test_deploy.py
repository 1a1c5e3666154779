"""Units and sample settings: systemd takes them, the real models read them, each key is explained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from gateway.cli import app
from gateway.home import init as init_gateway
from gateway.home import invite
from gateway.settings import GatewaySettings, load_settings
from parties.agreement.policy import Policy, load_policy
from parties.keys.tls import utc_now
from parties.service.home import Home, Settings, init
from parties.service.supervisor import KEPT_ENVIRONMENT

DEPLOY = Path(__file__).parent.parent / "deploy"
SAMPLES = DEPLOY / "sample"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
INSTALLED = "/opt/privity/bin/privity"
MOST_EXPOSED = 20  # tenths, as systemd-analyze counts: 0 is nothing, 100 everything

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze"
)


def value(unit: Path, key: str) -> str:
    """The one value of a key."""
    (found,) = re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def analyse(unit: Path, place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd about a unit, with a program that is there in the place of the installed one."""
    copy = place / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace(INSTALLED, sys.executable), encoding="utf-8")
    return subprocess.run(
        ["systemd-analyze", *command, str(copy)],  # noqa: S607 - wherever this machine has it
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path):
    """systemd-analyze verify has no complaint."""
    found = analyse(unit, tmp_path, "verify", "--man=no")
    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_expose_little(unit: Path, tmp_path: Path):
    """systemd's own count of what a service could reach stays low."""
    found = analyse(unit, tmp_path, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager")
    assert found.returncode == 0, found.stdout[-2000:]


@pytest.mark.parametrize("name", ["node", "dealer"])
def test_machine_code_is_kept_where_nobody_else_writes(name: str):
    """The directory that workers are told of is the one that systemd makes for this user alone."""
    unit = DEPLOY / "systemd" / f"privity-{name}.service"
    assert value(unit, "CacheDirectoryMode") == "0700"
    assert value(unit, "Environment") == f"NUMBA_CACHE_DIR=/var/cache/{value(unit, 'CacheDirectory')}"
    assert "NUMBA_CACHE_DIR" in KEPT_ENVIRONMENT


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_start_a_command_of_ours(unit: Path):
    """ExecStart is a command that exists, on the home that the unit may write."""
    program, *words = value(unit, "ExecStart").split()
    assert program == INSTALLED
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    parsed = command.make_context(command.name, words).params
    assert parsed["home"] == Path("/var/lib") / value(unit, "StateDirectory")


def test_there_is_a_unit_for_each_daemon():
    """Gateway, node and dealer have one."""
    assert [unit.stem for unit in UNITS] == ["privity-dealer", "privity-gateway", "privity-node"]


@pytest.mark.parametrize("role", ["node", "dealer"])
def test_units_keep_rows_and_masks_off_the_disk(role: str):
    """Whoever starts session processes writes no core files and is not swapped out."""
    unit = DEPLOY / "systemd" / f"privity-{role}.service"
    assert (value(unit, "LimitCORE"), value(unit, "MemorySwapMax")) == ("0", "0")


def explained(text: str, model: type[BaseModel]) -> bool:
    """Whether the file has exactly the model's keys, each below a comment."""
    assert list(tomllib.loads(text)) == list(model.model_fields)
    return all(re.search(rf"^#.+\n({key} = |\[{key}\])", text, re.MULTILINE) for key in model.model_fields)


def test_a_gateways_sample_holds(tmp_path: Path):
    """The sample loads, has all keys, and says of each what the code says."""
    text = (SAMPLES / "gateway.toml").read_text(encoding="utf-8")
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
    settings = load_settings(tmp_path)
    assert explained(text, GatewaySettings)
    assert settings.render() == text


@pytest.mark.parametrize(("sample", "role"), [("node", "party"), ("dealer", "dealer")])
def test_a_daemons_sample_holds(tmp_path: Path, sample: str, role: str):
    """The sample loads as a home's settings.toml and explains all keys."""
    text = (SAMPLES / f"{sample}.toml").read_text(encoding="utf-8")
    (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
    assert Home(tmp_path).settings.role == role
    assert explained(text, Settings)


def test_the_policys_sample_holds():
    """The sample loads, explains all keys, and refuses more than the default does."""
    policy = load_policy(SAMPLES / "policy.toml")
    assert explained((SAMPLES / "policy.toml").read_text(encoding="utf-8"), Policy)
    assert policy.approve == "operator"
    assert set(policy.disclosures) < set(Policy().disclosures)
    assert policy.automatic.partners
    assert policy.min_training_rows > Policy().min_training_rows


def test_init_explains_every_key(tmp_path: Path):
    """What `init` writes for an operator to edit has each key below a comment, at its default."""
    init_gateway(tmp_path / "gateway")
    assert explained((tmp_path / "gateway/gateway.toml").read_text(encoding="utf-8"), GatewaySettings)
    init(tmp_path / "node", "party", invite(tmp_path / "gateway", "clinic-a"), "127.0.0.1:0", utc_now())
    assert explained((tmp_path / "node/settings.toml").read_text(encoding="utf-8"), Settings)
    assert explained((tmp_path / "node/policy.toml").read_text(encoding="utf-8"), Policy)
    assert load_policy(tmp_path / "node/policy.toml") == Policy()
