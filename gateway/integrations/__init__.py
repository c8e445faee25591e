"""One file per job queue: each makes the runs of an existing application visible with one line."""
