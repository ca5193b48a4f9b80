"""What tests of engines share: the environment with Dask and MPI, and a cluster on loopback."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.environment import DaskCluster, Environment, install
from tests.support.environments import NotInstallableError

__all__ = ["cluster_environment", "dask_cluster"]


@pytest.fixture(scope="session")
def cluster_environment() -> Environment:
    """Python with everything; without it tests are skipped, but not where a skipped test would pass unseen."""
    try:
        return install()
    except NotInstallableError as error:
        if os.environ.get("CI", "").lower() in ("", "0", "false"):
            pytest.skip(f"Dask, mpi4py and loky cannot be installed: {error}")
        pytest.fail(f"Dask, mpi4py and loky cannot be installed: {error}", pytrace=False)


@pytest.fixture
def dask_cluster(cluster_environment: Environment) -> Iterator[DaskCluster]:
    """A scheduler and three workers."""
    cluster = DaskCluster(cluster_environment)
    try:
        for _ in range(3):
            cluster.add_worker()
        cluster.wait_for_workers(3)
        yield cluster
    finally:
        cluster.close()
