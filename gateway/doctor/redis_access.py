"""
What we may do in a Redis: each command that the scripts and the clients need, tried on a key that does not exist, and
the channels.

Each is tried with arguments that change nothing, whatever is allowed: permission is checked before they are looked at.
So nothing can be left behind by a user who may write and not remove.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import redis

from gateway.doctor.findings import Finding, error, ok, warning
from gateway.store.redis_keys import prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.feeds import EnvironmentId

#: A command → what follows its key, such that nothing is written: what is not there is removed, read, or changed only
#: if it exists; or the arguments are wrong in a way that only the command itself finds.
HARMLESS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "DEL": (),
        "UNLINK": (),
        "EXISTS": (),
        "TYPE": (),
        "PTTL": (),
        "TTL": (),
        "PERSIST": (),
        "EXPIRE": ("1",),
        "PEXPIRE": ("1",),
        "PEXPIREAT": ("1",),
        "GET": (),
        "STRLEN": (),
        "SET": ("-", "XX"),
        "INCRBY": ("no number",),
        "HGET": ("-",),
        "HMGET": ("-",),
        "HGETALL": (),
        "HKEYS": (),
        "HVALS": (),
        "HLEN": (),
        "HSTRLEN": ("-",),
        "HEXISTS": ("-",),
        "HDEL": ("-",),
        "HSET": ("-", "-", "a field without a value"),
        "HINCRBY": ("-", "no number"),
        "ZADD": ("XX", "1", "-"),
        "ZREM": ("-",),
        "ZCARD": (),
        "ZSCORE": ("-",),
        "ZCOUNT": ("0", "0"),
        "ZRANGE": ("0", "0"),
        "ZREVRANGE": ("0", "0"),
        "ZRANGEBYSCORE": ("0", "0"),
        "ZREVRANGEBYSCORE": ("0", "0"),
        "ZRANGEBYLEX": ("-", "+"),
        "ZREMRANGEBYSCORE": ("0", "0"),
        "ZREMRANGEBYRANK": ("0", "0"),
        "ZINCRBY": ("no number", "-"),
        "SREM": ("-",),
        "SMEMBERS": (),
        "SISMEMBER": ("-",),
        "SCARD": (),
        "LPUSHX": ("-",),
        "RPUSHX": ("-",),
        "LRANGE": ("0", "0"),
        "LINDEX": ("0",),
        "LLEN": (),
        "LTRIM": ("0", "0"),
        "LPOP": (),
        "RPOP": (),
        "XADD": ("NOMKSTREAM", "*", "-", "-"),
        "XLEN": (),
        "XRANGE": ("-", "+"),
        "XREVRANGE": ("+", "-"),
        "XDEL": ("0-1",),
        "XTRIM": ("MAXLEN", "1"),
    }
)
#: Commands of clients and of scripts that name no key.
_KEYLESS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "EVAL": ("return 1", "0"),
        "EVALSHA": ("0" * 40, "0"),
        "SCRIPT|LOAD": ("return 1",),
        "PING": (),
        "TIME": (),
        "CLIENT|SETNAME": ("runcast-doctor",),
    }
)
#: What it costs when only these are missing is small, and `redis_checks` says it.
_OPTIONAL: Final = frozenset({"INFO"})
_CALLS: Final = re.compile(r"redis\.p?call\(\s*['\"]([A-Za-z]+)['\"]")
_HEARING_SECONDS: Final = 2.0

_WHY: Final = "publishers are refused what they say, or gateways what they ask"


def commands_of_scripts() -> set[str]:
    """The commands that our scripts name."""
    scripts = files("gateway.store") / "scripts"
    texts = [
        file.read_text(encoding="utf-8")
        for directory in (scripts, scripts / "lib")
        for file in directory.iterdir()
        if file.name.endswith(".lua")
    ]
    return {name.upper() for text in texts for name in _CALLS.findall(text)}


@dataclass(slots=True)
class Denied:
    """What was refused, as the parts of an ACL rule."""

    commands: list[str] = field(default_factory=list)
    keys: bool = False
    channels: bool = False
    #: Whether something got past the question of the command, and past that of its keys or channel.
    keys_proven: bool = False
    channels_proven: bool = False
    #: Up to Redis 6 a new user may use every channel, and a pattern beside that is an error.
    channels_given: bool = False
    #: Other errors by command: unknown here, say.
    errors: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.commands or self.keys or self.channels or self.errors)

    def rule(self, user: str | None) -> str:
        """What gives *user* what is missing, and nothing else."""
        # The command is judged first: where none is allowed, nothing is known of keys and channels.
        parts = [
            *(["~runcast:*"] if self.keys or not self.keys_proven else []),
            *(["&runcast:*"] if self.channels or not (self.channels_proven or self.channels_given) else []),
            *(f"+{name.lower()}" for name in self.commands),
        ]
        return f"ACL SETUSER {user or 'USER'} {' '.join(parts)}"

    def note(self, command: str, refused: redis.RedisError) -> bool:
        """Sort an answer; most are no refusal, since the arguments were wrong on purpose. Whether it was none."""
        # "access one of the keys used as arguments" (6.2), "access a key" (7), "to run the 'hset' command".
        text = str(refused).lower()
        # The words of Redis 6, which may not be allowed to tell its version.
        self.channels_given |= "command or its subcommand" in text
        if "no permissions" not in text:
            if "unknown command" in text or "moved " in text:
                self.errors[command] = str(refused)
            return command not in self.errors
        if "channel" in text:
            self.channels = True
        elif "command" in text:
            self.commands.append(command)
        else:
            self.keys = True
        return False


def check_access(client: redis.Redis, environment: EnvironmentId, user: str | None) -> list[Finding]:
    """
    Whether the user of *client* may do what publishers and gateways do, in *environment*.

    Raises:
        redis.ConnectionError, redis.TimeoutError: When the connection breaks.
    """
    denied = _try_commands(client, environment)
    _try_channel(client, environment, denied)
    if denied.errors:
        said = "; ".join(f"{name}: {text}" for name, text in list(denied.errors.items())[:3])
        why = "what the scripts need is not there under its name: they fail"
        return [error("redis.commands", said, why, "# a Redis without renamed commands, that is no node of a cluster")]
    if denied:
        parts = [
            *(["keys runcast:*"] if denied.keys else []),
            *(["channels runcast:*"] if denied.channels else []),
            *denied.commands,
        ]
        says = f"the user {user or '?'} may not use: {', '.join(parts)}"
        return [
            error("redis.acl", says, _WHY, denied.rule(user), "ACL SAVE  # or CONFIG REWRITE, where users are kept")
        ]
    return [ok("redis.acl", f"the user {user or '?'} may do all that publishers and gateways do"), *_hear(client)]


def _try_commands(client: redis.Redis, environment: EnvironmentId) -> Denied:
    key = f"{prefix(environment)}doctor:{secrets.token_hex(8)}"
    wanted = (commands_of_scripts() | {"HGET", "HGETALL", "HMGET"}) - _OPTIONAL
    denied = Denied()
    for name in sorted(wanted & HARMLESS.keys()):
        denied.keys_proven |= _try(client, denied, name, name, key, *HARMLESS[name])
    for name, arguments in _KEYLESS.items():
        _try(client, denied, name, *name.split("|"), *arguments)
    return denied


def _try_channel(client: Any, environment: EnvironmentId, denied: Denied) -> None:
    """Publish to nobody, and subscribe on a connection of its own."""
    channel = f"{change_channel_prefix(environment)}{secrets.token_hex(8)}"
    denied.channels_proven |= _try(client, denied, "PUBLISH", "PUBLISH", channel, "")
    connection = client.connection_pool.make_connection()
    try:
        for name in ("UNSUBSCRIBE", "SUBSCRIBE"):
            connection.send_command(name, channel)
            try:
                connection.read_response()
            except redis.ResponseError as refused:
                denied.note(name, refused)
            else:
                denied.channels_proven |= name == "SUBSCRIBE"
    finally:
        connection.disconnect()
    denied.commands = list(dict.fromkeys(denied.commands))


def change_channel_prefix(environment: EnvironmentId) -> str:
    """A channel that no feed has: what follows names nothing."""
    return f"{prefix(environment)}changes:doctor:"


def _try(client: Any, denied: Denied, name: str, *words: str) -> bool:
    """Whether it was allowed."""
    try:
        client.execute_command(*words)
    except redis.ResponseError as refused:
        return denied.note(name, refused)
    return True


def _hear(client: Any) -> list[Finding]:
    """Whether what a script publishes is heard: all that viewers see live comes this way."""
    channel, word = f"runcast:canary:{secrets.token_hex(8)}", secrets.token_hex(8)
    with client.pubsub(ignore_subscribe_messages=False) as hearing:
        hearing.subscribe(channel)
        hearing.get_message(timeout=_HEARING_SECONDS)
        began = time.monotonic()
        client.eval("return redis.call('PUBLISH', ARGV[1], ARGV[2])", 0, channel, word)
        heard = hearing.get_message(timeout=_HEARING_SECONDS)
        took = time.monotonic() - began
    if heard is None or heard.get("data") != word:
        why = "changes are published from a script and heard on another connection: here viewers see nothing live"
        return [
            error("redis.pubsub", "what a script published was not heard", why, "# a Redis without a proxy before it")
        ]
    if took > 1:
        return [
            warning("redis.pubsub", f"what a script published was heard after {took:.1f} s", "viewers see it as late")
        ]
    return [ok("redis.pubsub", "scripts run, and what they publish is heard")]
