#!/bin/sh
# Says that the job is about to be over, and what was told of it. What happens afterwards is enforced as before.
/usr/bin/cordon job status
exec /usr/bin/cordon job finish
