#!/usr/bin/env bash
# SLURM and munge for the tests of this folder, on Debian and its kin; again is no harm.
set -euo pipefail

missing() {
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || return 0
    done
    return 1
}

missing || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/slurm: no SLURM here, and it cannot be installed: these tests will be skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq slurm-wlm munge
