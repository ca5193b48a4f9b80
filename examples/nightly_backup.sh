#!/bin/sh
# Copies a folder to backup disks every night, and says nothing unless something is wrong. A line for cron:
#
#   15 2 * * *  BACKUP_LOG=/var/log/backup.log /opt/pfndispatchcopy/examples/nightly_backup.sh /srv/films /mnt/a /mnt/b
#
# cron mails whatever a job prints: that is one line, and only when the backup is not complete. The exit code is that
# of pfndispatchcopy. Nothing is ever deleted on the backup disks.
#
#   BACKUP_LOG       the log is appended to this file (default: /var/log/nightly_backup.log)
#   BACKUP_PAUSE     seconds before the second attempt (default: 600)
#   PFNDISPATCHCOPY  the program, where it is neither in PATH (cron's is short) nor in the .venv beside this folder
set -u

complain() {
    printf 'nightly backup of %s: %s\n' "${source:-nothing}" "$*" >&2
}

source=${1-}
if [ $# -lt 2 ]; then
    complain "usage: nightly_backup.sh SOURCE DESTINATION..."
    exit 2
fi
shift
program=${PFNDISPATCHCOPY:-$(command -v pfndispatchcopy || echo "$(dirname -- "$0")/../.venv/bin/pfndispatchcopy")}
if ! command -v "$program" >/dev/null; then
    complain "there is no program $program"
    exit 2
fi
log=${BACKUP_LOG:-/var/log/nightly_backup.log}

# --on-conflict rename  A file that has changed goes beside its older copy, as NAME 2.EXT, and the highest number is the
#                       newest. So nothing that spoils a file can reach its last good copy, and a change is no failure.
#                       Room is the price; with "overwrite" there is only the newest version.
# --quick-check         "Unchanged" is judged by size and time, and nothing is read for it. Leave it out now and then:
#                       then all content is compared, and what has rotted on a backup disk gets a good copy beside it.
# --preserve all        What is restored one day should have its owners, too. What a disk cannot keep is in the log.
# --require-mount       A disk that is not there must not be replaced by a folder on the system's own disk.
# --lock-wait 0         The program locks the copies it writes. A night that meets the night before, still copying, is
#                       refused (exit code 2) and changes nothing; no flock(1) and no file with a process id is needed.
# --stall-timeout       Disks that wake up or tidy up are slow to answer. One that is silent for ten minutes is given
#                       up, and the others are completed.
# --config              cron may set HOME or not: a user's own configuration must not make the difference.
# --quiet               Only warnings and errors are printed. The log has them too, so they are kept for the one line.
back_up() {
    words=$("$program" \
        --config "${PFNDISPATCHCOPY_CONFIG:-/dev/null}" \
        --on-conflict rename \
        --quick-check \
        --preserve all \
        --require-mount \
        --lock-wait 0 \
        --stall-timeout 600 \
        --log-file "$log" \
        --quiet \
        -- "$source" "$@" 2>&1 </dev/null)
}

# Ctrl-C, timeout(1), systemd and a shutdown signal the program as well. This shell has to outlive it, to tell.
trap : INT TERM HUP

back_up "$@"
code=$?
# Partly complete: most often a file was being written while it was read, or a disk was not ready yet.
if [ "$code" -eq 3 ] && sleep "${BACKUP_PAUSE:-600}"; then
    back_up "$@"
    code=$?
fi
[ "$code" -ne 0 ] || exit 0

case $code in
    2) verdict="refused" ;;
    3) verdict="incomplete" ;;
    4) verdict="BYTES DIFFER on a disk or in the source" ;;
    129 | 130 | 143) verdict="interrupted, the next run completes it" ;;
    *) verdict="failed" ;;
esac
# The first error is mostly the cause of the others. What is no error of the program's own ends with its reason.
reason=$(printf '%s\n' "$words" | sed -n 's/^pfndispatchcopy: error: //p' | head -n 1)
[ -n "$reason" ] || reason=$(printf '%s\n' "$words" | tail -n 1)
complain "$verdict (exit code $code): ${reason:-no reason given}; log: $log"
exit "$code"
