"""Settings for every test: Hypothesis profiles, and no silent skips where the oracles must be there."""

import os

import pytest
import scipy.linalg  # noqa: F401  # whose BLAS is to be told of too
import threadpoolctl
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("thorough", max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
os.environ["CONVMTX_RATES"] = "0"  # choices are those of the rates that are shipped, on every machine
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time of tests with JAX is its compiler's
if "PYTEST_XDIST_WORKER" in os.environ:  # workers are as many as processors: threads of BLAS would trip over each other
    threadpoolctl.threadpool_limits(1, user_api="blas")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """With CONVMTX_NO_SKIPS set, a module that skips itself for a missing library is a failure."""
    report = yield
    if report.skipped and os.environ.get("CONVMTX_NO_SKIPS"):
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """And so is a test that skips."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CONVMTX_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CONVMTX_NO_SKIPS is set: {report.longrepr}"
    return report
