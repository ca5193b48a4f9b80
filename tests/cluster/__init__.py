"""Folders that are copied by other people's engines: Dask, MPI, loky."""
