"""The tools of others: installed once, when the first test asks for them."""

import os

import pytest

from tests.support.environments import NotInstallableError
from tests.tools.suite import MhlSuite, install

# Whichever test comes first waits until they are installed.
_WITH_INSTALLING_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "mhl_suite" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_WITH_INSTALLING_S))


@pytest.fixture(scope="session")
def mhl_suite() -> MhlSuite:
    """The published MHL tools; without them tests are skipped, but not where a skipped test would pass unseen."""
    try:
        return install()
    except NotInstallableError as error:
        if os.environ.get("CI", "").lower() in ("", "0", "false"):
            pytest.skip(f"the MHL tools cannot be installed: {error}")
        pytest.fail(f"the MHL tools cannot be installed: {error}", pytrace=False)
