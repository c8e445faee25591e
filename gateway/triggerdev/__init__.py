"""What the official clients of Trigger.dev speak: feeds as shapes, runs, metadata, tokens, streams, at their paths."""
