"""Reports of a run: JSON and CSV for programs, HTML for people. Made from what the run tells, and from nothing else."""
