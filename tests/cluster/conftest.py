"""The environment and the cluster, for all tests here."""

from tests.support.cluster_fixtures import cluster_environment, dask_cluster

__all__ = ["cluster_environment", "dask_cluster"]
