#!/bin/sh
#SBATCH --job-name=offload
#SBATCH --ntasks=9
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=12:00:00
#SBATCH --requeue
# Copies folders on several hosts under SLURM, through MPI: one task lists, tells and keeps the record, the others copy.
#
#   sbatch examples/slurm_offload.sh /shared/in/A001 /shared/a /shared/b
#   SLURM_NTASKS=3 sh examples/slurm_offload.sh CARD /tmp/a /tmp/b      # on this machine, without SLURM
#
# Needs pip install 'pfndispatchcopy[mpi]' and an MPI, and the same paths on all hosts. One task on each host: what
# several hosts bring is a link each. When the time is over, or a host fails, MPI ends the whole run: nothing that has
# its final name is incomplete, and the same job again (or --requeue, by itself) goes on where this one was.
#
#   PYTHON           that has pfndispatchcopy (default: python3)
#   MPIEXEC          starts the tasks (default: mpiexec, which SLURM's allocation is known to)
#   OFFLOAD_OPTIONS  more options, such as: --mhl asc --log-file offload.log
set -u

[ $# -ge 2 ] || {
    echo "usage: sbatch slurm_offload.sh SOURCE DESTINATION..." >&2
    exit 2
}
# The options are words, on purpose.
# shellcheck disable=SC2086
exec ${MPIEXEC:-mpiexec} -n "${SLURM_NTASKS:-2}" "${PYTHON:-python3}" -m mpi4py.futures \
    -m pfndispatchcopy --executor mpi ${OFFLOAD_OPTIONS:-} "$@"
