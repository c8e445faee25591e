"""What `make dev` shows: honest jobs of a Celery application, live on a page."""
