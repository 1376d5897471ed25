#!/bin/sh
# Custom executor, run: moves itself into the job, then executes the script.
set -eu
directory="${CORDON_GITLAB_STATE:-$HOME/.cordon-jobs}"
job=$(cat "$directory/${CUSTOM_ENV_CI_JOB_ID:?}")
exec /usr/bin/cordon job attach "$job" -- /bin/sh "$1"
