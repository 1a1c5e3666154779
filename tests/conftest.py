"""What holds of all tests: none is timed; in CI (PRIVITY_NOTHING_SKIPPED is set) none skips what could be had."""

import os

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair, and what else it does meanwhile.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # noqa: ARG001 - the hook's signature
    report = yield
    if report.skipped and os.environ.get("PRIVITY_NOTHING_SKIPPED") and "gpu" not in item.keywords:
        report.outcome = "failed"
    return report
