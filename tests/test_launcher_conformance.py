"""Hydra's own suites for launchers, run on the packed one: task functions that are not ours run as ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase
from hydra_plugins.dropout_sweeps import ArmsSweeper, PackedLauncher
from packaging.version import Version


@pytest.fixture(autouse=True)
def hydras_own_default() -> Iterator[None]:
    """The suites expect what Hydra does where no version_base was ever set."""
    VersionBase.instance().setbase(Version("1.1"))
    yield
    VersionBase.instance().setbase(Version("1.3"))


def test_discovery() -> None:
    from hydra.plugins.sweeper import Sweeper

    assert PackedLauncher.__name__ in [plugin.__name__ for plugin in Plugins.instance().discover(Launcher)]
    assert ArmsSweeper.__name__ in [plugin.__name__ for plugin in Plugins.instance().discover(Sweeper)]


@pytest.mark.parametrize("launcher_name, overrides", [("packed", [])])
class TestPackedLauncher(LauncherTestSuite):
    """hydra.test_utils.launcher_common_tests.LauncherTestSuite."""


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({}, ["-m", "hydra/launcher=packed", "hydra.job_logging.formatters.simple.format='[JOB] %(message)s'",
           "hydra.hydra_logging.formatters.simple.format='[HYDRA] %(message)s'"])],
)  # fmt: skip
@pytest.mark.slow
class TestPackedLauncherIntegration(IntegrationTestSuite):
    """hydra.test_utils.launcher_common_tests.IntegrationTestSuite, in processes of their own."""
