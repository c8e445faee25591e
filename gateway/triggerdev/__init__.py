"""
What the official clients of Trigger.dev speak: feeds as shapes, runs, metadata, tokens, streams, at their paths.

* `feeds`, and the room `shape`: the three feeds of runs.
* `runs`, `batches`, `listing`, `metadata`, `tokens`: plain requests, each described once as in `gateway/api`; with
  `access` (who may), `dialect` and `refusals` (how they are read and refused), `run_object` and `results` (what is
  shown of a run).
* `streams` and `inputs`: the requests for what a run writes, and for what is sent into it. `stream_writing` is who
  writes where, and `stream_chunks` what it makes a chunk of; `stream_reading` is what a reader asks for,
  `stream_reader` serves it as long as it stays, and `stream_records` spells what it is told.
* `later`, `elsewhere`: what is not there yet, and what never was.
"""
