"""Plain HTTP requests: runs, batches, their metadata and tags, and the document that describes them (docs/http.md)."""
