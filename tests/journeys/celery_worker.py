"""The worker of tests/journeys/test_celery.py: the application, one line, and a word to the test when it is ready."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import logging
import os
from typing import Any

import redis
from celery.signals import worker_ready

from gateway import Publisher
from gateway.integrations.celery import install
from tests.journeys.celery_app import BROKER, app

logging.basicConfig(format="%(name)s %(levelname)s %(message)s", level=logging.INFO)
publisher = Publisher(os.environ["TEST_DATA_URL"], environment=os.environ["TEST_ENVIRONMENT"])
install(app, publisher, lease=os.environ.get("TEST_LEASE"))


@worker_ready.connect
def _tell(**_: Any) -> None:
    with redis.Redis.from_url(BROKER) as client:
        client.rpush("worker_ready", os.getpid())
