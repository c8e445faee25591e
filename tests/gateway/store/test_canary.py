"""The canary says what is newest, and takes runs away whose time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.feeds import EnvironmentId, FeedId
from gateway.store.redis_keys import Retention, index_key
from gateway.store.redis_store import RedisStore
from tests.gateway.store.changing import Changing
from tests.gateway.store.reader import Reading

if TYPE_CHECKING:
    from tests.redis_server import RedisServer


async def test_a_canary_brings_back_the_newest_number(reading: Reading, changing: Changing) -> None:
    """Text, epoch and number, on the channel of whoever asked."""
    applied = changing.create()
    with changing.client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe("canaries")
        subscription.get_message(timeout=5)

        await reading.store.canary(reading.environment, "canaries", "the text", sweep=0)
        heard = subscription.get_message(timeout=5)

    assert heard is not None
    assert heard["data"] == f"the text {applied.epoch} {applied.sequence}"


async def test_a_canary_removes_what_is_due(each_redis_server: RedisServer, environment: EnvironmentId) -> None:
    """So many runs at a time, with their places in the feeds; the others stay."""
    store = RedisStore(each_redis_server.url, Retention())
    with each_redis_server.client() as client:
        changing = Changing(client, environment)
        for number in range(5):
            changing.create(f"run_{number}", tags=["a"])
        client.zadd(f"runcast:{{{environment}}}:due", {f"run_{number}": 0 for number in range(3)})

        await store.canary(environment, "", "", sweep=2)
        assert client.zrange(index_key(environment, FeedId.tags("a")), 0, -1) == ["run_2", "run_3", "run_4"]
        await store.canary(environment, "", "", sweep=2)
        assert await Reading(store, environment).runs() == ["run_3", "run_4"]
    await store.close()
