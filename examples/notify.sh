#!/bin/sh
# Tells the desktop how an offload ended. For --on-finish, which gives the summary event on standard input:
#
#   pfndispatchcopy --on-finish /opt/pfndispatchcopy/examples/notify.sh /media/A001 /mnt/raid /mnt/shuttle
#
# Where there is no desktop, nothing happens, and that is no failure.
set -u

# One line of JSON. A quotation mark within a path is written \", so that what is looked for is found in no path.
summary=$(cat)
number_of() {
    printf '%s\n' "$summary" | sed -n "s/.*\"$1\":\\([0-9][0-9]*\\).*/\\1/p"
}

code=$(number_of exit_code)
case ${code:-none} in
    0) title="Offload complete" text="Everything is complete and verified." ;;
    2) title="Offload refused" text="Nothing was copied. Do not format the card." ;;
    3) title="Offload INCOMPLETE" text="Some of it is missing. Do not format the card." ;;
    4) title="Offload: BYTES DIFFER" text="Do not format the card." ;;
    129 | 130 | 143) title="Offload interrupted" text="Run it again: only what is missing is copied." ;;
    *) title="Offload FAILED" text="Do not format the card." ;;
esac

if command -v osascript >/dev/null; then
    osascript -e 'on run argv' -e 'display notification (item 2 of argv) with title (item 1 of argv)' -e 'end run' \
        "$title" "$text"
elif command -v notify-send >/dev/null; then
    [ "${code:-1}" = 0 ] && urgency=normal || urgency=critical
    notify-send --app-name=pfndispatchcopy --urgency="$urgency" "$title" "$text"
fi >/dev/null 2>&1
exit 0
