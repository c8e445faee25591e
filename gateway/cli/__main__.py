"""`python -m gateway.cli`: the same as `runcast`."""

from gateway.cli import main

main(prog_name="runcast")
