"""Examinations of the machine: versions, room on the disk, the kernel's randomness, and whether there is a GPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from parties.doctor.symptom import Symptom
from parties.service.home import Device
from parties.service.standing import Disk

LEAST_BYTES: Final = 256 << 20  # below it a session may find no room for its log and results
FEW_BYTES: Final = 2 << 30
SEED_BYTES: Final = 32

_INSTALLED: Final = ("privity", "crypten", "torch", "numba", "grpcio", "cryptography")
_DRIVER: Final = Path("/proc/driver/nvidia/gpus")


def versions(status: dict[str, Any] | None, wanted: Sequence[str] = _INSTALLED) -> Iterator[Symptom]:
    """What is installed, and whether the daemon that runs is of it."""
    found = {"Python": platform.python_version()}
    missing = []
    for name in wanted:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        action = "install Privity again, by `pip install -c constraints.txt .`"
        yield Symptom("versions", "mend", f"{', '.join(missing)} can't be found", action)
    else:
        yield Symptom("versions", "ok", ", ".join(f"{name} {number}" for name, number in found.items()))
    if status is not None and (runs := status.get("version", "an earlier one")) != found.get("privity"):
        what = f"the daemon runs version {runs}, another than is installed"
        yield Symptom("versions", "note", what, "restart it when no session runs; all participants need the same one")


def disk(found: Disk) -> Iterator[Symptom]:
    """There is room for what sessions write."""
    if found.free_bytes < LEAST_BYTES:
        yield Symptom("disk", "mend", found.line(), "make room: what can't be recorded is not done")
    elif found.free_bytes < FEW_BYTES:
        yield Symptom("disk", "note", found.line(), "make room soon: what can't be recorded is not done")
    else:
        yield Symptom("disk", "ok", found.line())


def entropy() -> Iterator[Symptom]:
    """The kernel's generator is seeded."""
    try:
        os.getrandom(SEED_BYTES, os.GRND_NONBLOCK)
    except BlockingIOError:
        action = "wait, or give the machine a hardware generator; keys can't be made before"
        yield Symptom("entropy", "mend", "the kernel's random generator is not seeded yet", action)
    else:
        yield Symptom("entropy", "ok", "the kernel's random generator is seeded")


def gpu(wanted: Device, driver: Path = _DRIVER) -> Iterator[Symptom]:
    """As the driver's files tell; the engine, which could tell more, takes seconds to load."""
    cards = sorted(driver.iterdir()) if driver.is_dir() else []
    if not cards and wanted == "cuda":
        action = 'install one, or set device = "auto" in settings.toml: every training will fail'
        yield Symptom("gpu", "mend", "none with an NVIDIA driver, and the settings ask for one", action)
    elif not cards:
        yield Symptom("gpu", "ok", "none with an NVIDIA driver; sessions compute on the CPU")
    else:
        models = ", ".join(_model(card / "information") for card in cards)
        used = "is not used" if wanted == "cpu" else "is used if the installed torch is one for CUDA"
        yield Symptom("gpu", "ok", f'{models}: with device = "{wanted}" it {used}')


def _model(path: Path) -> str:
    try:
        rows = dict(line.partition(":")[::2] for line in path.read_text(encoding="utf-8").splitlines())
    except OSError:
        return "unknown"
    return rows.get("Model", "unknown").strip()
