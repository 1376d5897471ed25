#!/bin/sh
# Has cordon make a job of the worker that calls this. Fails if it is not enforced.
exec /usr/bin/cordon job start
