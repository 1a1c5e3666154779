"""SPU in an environment of its own, whose pins collide with Privity's: `benchmarks/.spu`, made when it is first needed.

SEMI2K has as many computing parties as the work, ABY3 always three. Its links are brpc on loopback, without TLS.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.processes import MeasurementFailed, Start, run_together
from benchmarks.proxy import HOST, detours
from benchmarks.systems.crypten import joined
from benchmarks.works import ABY3, Work

PLACE = Path(__file__).parents[1] / ".spu"
PYTHON = PLACE / "bin" / "python"
WANTED = ("spu==0.9.5", "numpy<2")
INSTALL_S, TIMEOUT_S = 900.0, 900.0


def install() -> None:
    """Raises: MeasurementFailed if it can't be had here."""
    if (PLACE / "installed").exists():
        return
    print("installing SPU into benchmarks/.spu ...", flush=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WANTED]
    try:
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True, timeout=INSTALL_S)
        subprocess.run(
            pip, check=True, timeout=INSTALL_S, env=os.environ | {"PIP_CONSTRAINT": ""}, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as exc:
        raise MeasurementFailed(f"SPU does not install: {(exc.stderr or str(exc)).strip()[-500:]}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MeasurementFailed(f"SPU does not install: {exc}") from exc
    (PLACE / "installed").touch()


def measure(work: Work, tables: Path, iterations: int, system: str) -> dict[str, Any]:
    """One run. `tables` holds each party's block."""
    install()
    parties = 3 if system == ABY3 else work.parties
    ports = _free_ports(parties)
    with contextlib.ExitStack() as stack:
        ways = stack.enter_context(detours(ports, work.delay_ms)) if work.delay_ms else ports
        starts = [
            Start(
                f"party-{rank}",
                "benchmarks.systems.spu_process",
                {
                    "rank": rank,
                    "addresses": [
                        f"{HOST}:{port if other == rank else way}"
                        for other, (port, way) in enumerate(zip(ports, ways, strict=True))
                    ],
                    "system": system,
                    "tables": str(tables),
                    "blocks": work.blocks,
                    "iterations": iterations,
                    "batch_rows": work.batch_rows,
                    "batches": min(iterations, work.rows // (work.batch_rows or work.rows)),
                },
                python=str(PYTHON),
            )
            for rank in range(parties)
        ]
        reports = run_together(starts, TIMEOUT_S)
    return joined(reports, iterations) | {"parties": parties}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: brpc opens its own sockets."""
    with contextlib.ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [door.getsockname()[1] for door in doors]
