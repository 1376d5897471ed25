#!/bin/sh
# Custom executor, cleanup: the job is over.
set -eu
directory="${CORDON_GITLAB_STATE:-$HOME/.cordon-jobs}"
file="$directory/${CUSTOM_ENV_CI_JOB_ID:?}"
[ -e "$file" ] || exit 0
/usr/bin/cordon job finish "$(cat "$file")"
rm -f "$file"
