"""
What Runcast is measured beside: the ceiling, and six ways in which others deliver, each in one small file.

Each is configured kindly: no debugging, no access log, no compression, uvloop and httptools where they apply, one
process, and one Redis subscription per feed that all its viewers share. Each does less than Runcast: no tokens, no
cursors, no state, no heartbeats. `targets.py` says how each is started, and what its viewers say to it.
"""
