"""The page that the docs show of a run (docs/benchmarks.md), made of what the run kept as JSON: tables and plots."""
