#!/bin/sh
# Mounts a card read-only, offloads it, and unmounts it. For a systemd service that a udev rule starts:
#
#   offload_device.sh /dev/sdb1 DESTINATION...
#
# The copy gets the card's label for a name. `examples/install.py udev` makes rule and service.
# It needs root; RUNTIME_DIRECTORY is made, and removed, by systemd.
set -u

device=$1
shift
label=$(lsblk -no LABEL "$device" | head -n 1 | tr '/\n' '__' | sed 's/_$//')
card=${RUNTIME_DIRECTORY:?is set by systemd}/${label:-${device##*/}}
mkdir -p "$card" || exit 1
mount -o ro,nosuid,nodev,noexec "$device" "$card" || exit 1
sh "$(dirname -- "$0")/offload_card.sh" "$card" "$@"
code=$?
umount "$card"
rmdir "$card"
exit "$code"
