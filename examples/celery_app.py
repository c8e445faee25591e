"""One line gives every task of a Celery app its status, retries, failures and progress."""

import os

from celery import Celery

from gateway.integrations.celery import install

app = Celery("examples", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/1"))
install(app)


@app.task(bind=True)
def resize(self, pictures):
    for number, _picture in enumerate(pictures, start=1):
        self.update_state(state="PROGRESS", meta={"current": number, "total": len(pictures)})
    return len(pictures)
