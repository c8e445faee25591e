"""What is good or bad about what a Redis says of itself. No I/O: facts in, findings out."""

from __future__ import annotations

import ipaddress
import re
import statistics
from typing import TYPE_CHECKING, Final

from gateway.doctor.clocks import compare_clocks
from gateway.doctor.findings import Finding, error, note, ok, warning

if TYPE_CHECKING:
    from gateway.doctor.redis_facts import RedisFacts

OLDEST: Final = (6, 2)

#: What Redis itself begins with. A burst of changes has to fit in while a gateway is busy for a moment.
_PUBSUB_HARD, _PUBSUB_SOFT, _PUBSUB_SECONDS = 32 * 1024**2, 8 * 1024**2, 60
_PUBSUB_LEAST: Final = 1024**2
_PUBSUB_LINE: Final = 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"'

#: Half of them above this: each change that a job says waits as long.
_SLOW_SECONDS, _VERY_SLOW_SECONDS = 0.005, 0.05
_FULL: Final = 0.9


def check_facts(facts: RedisFacts) -> list[Finding]:
    """Every check, in the order in which a person would ask."""
    checks = (
        *(check_version, check_role, check_eviction, check_memory, check_pubsub_buffer, check_idle_timeout),
        *(check_clients, check_persistence, check_cluster, check_latency, check_clock, check_encryption, check_managed),
    )
    return [finding for check in checks for finding in check(facts)]


def check_version(facts: RedisFacts) -> list[Finding]:
    """Whether it knows the commands that the scripts need."""
    text = str(facts.info.get("redis_version", ""))
    if not text:
        return [note("redis.version", "its version is not told", "6.2 or newer is needed")]
    valkey = facts.info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {text}"
    if parse_version(text) < OLDEST:
        why = "the scripts need commands that came with Redis 6.2"
        return [error("redis.version", f"{name} is too old", why, "# install Redis 6.2 to 8, or Valkey 7 to 9")]
    return [ok("redis.version", name)]


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor number of what INFO calls the version; (0, 0) when it is none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def check_role(facts: RedisFacts) -> list[Finding]:
    """Whether it takes writes."""
    if facts.info.get("role") != "slave":
        return []
    primary = f"{facts.info.get('master_host', 'PRIMARY')}:{facts.info.get('master_port', 6379)}"
    why = "a replica takes no writes: publishers keep their changes until they are too many, and viewers see nothing"
    return [error("redis.role", "this is a replica", why, f"RUNCAST_REDIS_URL=redis://{primary}/0")]


def check_eviction(facts: RedisFacts) -> list[Finding]:
    """Whether it removes keys that are needed when its memory is full."""
    # INFO tells it too, and is allowed where CONFIG is not.
    policy = str(facts.info.get("maxmemory_policy") or facts.config.get("maxmemory-policy") or "")
    if not policy:
        return [note("redis.eviction", "its maxmemory-policy is not told", "noeviction or volatile-* is needed")]
    if policy == "noeviction" or policy.startswith("volatile-"):
        return [ok("redis.eviction", f"maxmemory-policy is {policy}")]
    lines = ("CONFIG SET maxmemory-policy noeviction", "# and in redis.conf: maxmemory-policy noeviction")
    why = (
        "when memory is full it removes any key, the index of a feed as well as a run: viewers then see runs that "
        "never end, or none"
    )
    if not int(facts.info.get("maxmemory", 0)):
        says = f"maxmemory-policy is {policy}; no maxmemory is set yet, so nothing is removed so far"
        return [warning("redis.eviction", says, why, *lines)]
    return [error("redis.eviction", f"maxmemory-policy is {policy}", why, *lines)]


def check_memory(facts: RedisFacts) -> list[Finding]:
    """Whether it is nearly full."""
    most, used = int(facts.info.get("maxmemory", 0)), int(facts.info.get("used_memory", 0))
    if not most or used < most * _FULL:
        return []
    says = f"{used / 1024**2:.0f} of {most / 1024**2:.0f} MB are used"
    why = "when memory is full Redis refuses writes: publishers keep their changes until they are too many"
    larger = f"CONFIG SET maxmemory {2 * most // 1024**2}mb"
    return [warning("redis.memory", says, why, larger, "# or keep runs for less time: RUNCAST_RETENTION=6h")]


def check_pubsub_buffer(facts: RedisFacts) -> list[Finding]:
    """Whether a burst of changes fits into what it keeps for a subscription."""
    limits = parse_buffer_limits(facts.config.get("client-output-buffer-limit", ""))
    if "pubsub" not in limits:
        return []  # `check_managed` says that settings can't be read
    hard, soft, seconds = limits["pubsub"]
    says = f"client-output-buffer-limit pubsub is {hard} {soft} {seconds}"
    least = min((limit for limit in (hard, soft) if limit), default=None)
    if least is None or (least >= _PUBSUB_SOFT and (not hard or hard >= _PUBSUB_SOFT)):
        return [ok("redis.pubsub_buffer", says)]
    why = (
        "Redis closes the gateway's subscription when more than that waits in it, which a burst of changes does: all "
        "viewers are told `stale` then, and catch up"
    )
    found = error if least < _PUBSUB_LEAST else warning
    return [found("redis.pubsub_buffer", says, why, _PUBSUB_LINE)]


def parse_buffer_limits(text: str) -> dict[str, tuple[int, int, int]]:
    """Hard limit, soft limit (bytes) and seconds of each kind of client, from one line of CONFIG GET."""
    words = text.split()
    groups = [words[start : start + 4] for start in range(0, len(words) - 3, 4)]
    return {
        kind: (int(hard), int(soft), int(seconds))
        for kind, hard, soft, seconds in groups
        if hard.isdigit() and soft.isdigit() and seconds.isdigit()
    }


def check_idle_timeout(facts: RedisFacts) -> list[Finding]:
    """Whether it closes connections that are idle."""
    seconds = facts.config.get("timeout", "")
    if not seconds.isdigit() or seconds == "0":
        return []
    says = f"connections that are idle for {seconds} s are closed"
    return [note("redis.timeout", says, "no viewer sees it; who publishes seldom connects anew each time")]


def check_clients(facts: RedisFacts) -> list[Finding]:
    """Whether it has connections left."""
    now, most = int(facts.info.get("connected_clients", 0)), int(facts.info.get("maxclients", 0))
    if not most or now < most * _FULL:
        return []
    why = "when there are no connections left, gateways and workers can't connect: a gateway needs a few, a worker one"
    return [
        warning("redis.clients", f"{now} of {most} connections are taken", why, f"CONFIG SET maxclients {2 * most}")
    ]


def check_persistence(facts: RedisFacts) -> list[Finding]:
    """What is left of the runs after a restart."""
    info = facts.info
    if not info:
        return []
    if "err" in (info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status")):
        why = "by default Redis refuses writes while it can't save"
        return [error("redis.persistence", "its last attempt to save failed", why, "# see its log: the disk is full?")]
    if int(info.get("aof_enabled", 0)):
        return [ok("redis.persistence", "appendonly is on")]
    snapshots = facts.config.get("save")
    if snapshots is None:
        why = "after a restart viewers see what was saved, if something was"
        return [note("redis.persistence", "appendonly is off; whether it saves snapshots is not told", why)]
    why = "after a restart viewers get a fresh snapshot of what was saved, in which the newest runs are missing"
    lines = ("CONFIG SET appendonly yes", "# and in redis.conf: appendonly yes")
    if not snapshots:
        why = "after a restart all runs are gone, and those that workers are at come back only with their next status"
        return [warning("redis.persistence", "nothing is saved to disk", why, *lines)]
    return [note("redis.persistence", f"only snapshots are saved ({snapshots})", why, *lines)]


def check_cluster(facts: RedisFacts) -> list[Finding]:
    """Whether it has all keys."""
    if not int(facts.info.get("cluster_enabled", 0)):
        return []
    why = (
        "a gateway talks to one server: environments whose keys another shard has are not found. With a single shard "
        "it works"
    )
    return [warning("redis.cluster", "this is a node of a cluster", why, "RUNCAST_REDIS_URL=# a server on its own")]


def check_latency(facts: RedisFacts) -> list[Finding]:
    """How long a round trip takes."""
    if len(facts.pings) < 2:
        return []
    median, slowest = statistics.median(facts.pings), sorted(facts.pings)[int(len(facts.pings) * 0.99)]
    says = f"a ping takes {_milliseconds(median)} (p50), {_milliseconds(slowest)} (p99)"
    if median < _SLOW_SECONDS:
        return [ok("redis.latency", says)]
    why = "each change of status that a job says waits for one round trip, and so does what a new viewer sees first"
    found = warning if median >= _VERY_SLOW_SECONDS else note
    return [found("redis.latency", says, why, "# a Redis in the same region and network; redis-cli --latency")]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def check_clock(facts: RedisFacts) -> list[Finding]:
    """Whether its clock and ours agree."""
    if facts.clock_ahead is None:
        return [note("redis.clock", "its clock can't be read", "it was not compared with ours")]
    return [compare_clocks("redis.clock", "Redis's clock", facts.clock_ahead, precision=0.0)]


def check_encryption(facts: RedisFacts) -> list[Finding]:
    """Whether others can read what goes by."""
    if facts.is_encrypted or _is_near(facts.host):
        return []
    why = "what jobs say, and the password, can be read by whoever is on the way"
    return [note("redis.tls", f"the connection to {facts.host} is not encrypted", why, "RUNCAST_REDIS_URL=rediss://…")]


def _is_near(host: str) -> bool:
    """Whether it is this machine or a private network. Of a name we can't know; most lead to one."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


def check_managed(facts: RedisFacts) -> list[Finding]:
    """What it does not tell, so that nothing is said of it."""
    found = []
    if facts.info_refused:
        why = "without INFO a restart that lost the last second can't be told from one that did not"
        found.append(warning("redis.info", "INFO is not allowed", why, f"ACL SETUSER {facts.user or 'USER'} +info"))
    if facts.config_refused:
        why = "usual with managed Redis: check `client-output-buffer-limit` and `save` in the provider's console"
        found.append(note("redis.config", "CONFIG is not allowed; what only it tells was not looked at", why))
    return found
