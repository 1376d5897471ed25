#!/bin/sh
# Custom executor, prepare: opens a job, and keeps its name where `run` and `cleanup` find it.
set -eu
umask 077
directory="${CORDON_GITLAB_STATE:-$HOME/.cordon-jobs}"
mkdir -p "$directory"
/usr/bin/cordon job start --open --quiet >"$directory/${CUSTOM_ENV_CI_JOB_ID:?}"
