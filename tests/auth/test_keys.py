"""Which secrets are accepted, and which environment they open."""

import json
import pickle
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from auth import (
    AuthError,
    BadKeyring,
    DuplicateSecret,
    EnvironmentId,
    EnvironmentKeys,
    Keyring,
    NoSecretKey,
    SigningKey,
    UnknownEnvironment,
    UnusableSecret,
    WeakSecret,
    generate_secret_key,
    mint,
    verify,
)
from tests.auth.helpers import NOW, OTHER_SECRET, SECRET

DAY = 86_400
OLD_SECRET = "tr_dev_an_older_secret_of_the_environment"
#: NOW, as people write it.
NOW_TEXT = "2025-10-09T08:53:20Z"


def rotated(*, retired_at: float | None, grace: timedelta = timedelta(hours=24)) -> EnvironmentKeys:
    return EnvironmentKeys(
        environment=EnvironmentId("env_1"),
        current=SigningKey(SECRET),
        previous=(SigningKey(OLD_SECRET, retired_at),),
        grace=grace,
    )


class TestSecrets:
    @pytest.mark.parametrize("size", [1, 12, 23])
    def test_a_secret_under_24_bytes_is_refused(self, size: int) -> None:
        """The error says how long it is and how long it should be, not what it is."""
        with pytest.raises(WeakSecret) as refused:
            EnvironmentKeys.of("env_1", "q" * size)

        assert (refused.value.size_bytes, refused.value.minimum_bytes) == (size, 24)
        assert "q" not in str(refused.value)

    def test_a_previous_secret_must_be_strong_too(self) -> None:
        """What it signed still counts, so it can still be guessed."""
        with pytest.raises(WeakSecret):
            EnvironmentKeys(
                environment=EnvironmentId("env_1"), current=SigningKey(SECRET), previous=(SigningKey("short"),)
            )

    def test_development_may_use_a_weak_secret(self) -> None:
        """`allow_weak` lets it in, with a warning; it signs and verifies without another one."""
        keys = EnvironmentKeys.of("env_1", "dev", allow_weak=True)

        assert verify(mint("read:runs", keys), Keyring([keys])).environment == "env_1"
        assert len(Keyring([keys]).warnings()) == 1

    @pytest.mark.parametrize(("size", "warned"), [(24, True), (31, True), (32, False), (64, False)])
    def test_a_secret_under_32_bytes_is_warned_of(self, size: int, warned: bool) -> None:
        """From 24 to 31 bytes there is one sentence, which names the environment and not the secret."""
        secret = ("tr_dev_0123456789" * 4)[:size]

        warnings = Keyring([EnvironmentKeys.of("acme", secret)]).warnings()

        assert len(warnings) == warned
        assert all("'acme'" in sentence and secret[:10] not in sentence for sentence in warnings)

    @pytest.mark.parametrize("kind", ["dev", "stg", "prod", "preview"])
    def test_the_form_of_restricted_keys_is_refused(self, kind: str) -> None:
        """The official SDK would not sign with such a key; the reason says so."""
        with pytest.raises(UnusableSecret, match="restricted"):
            EnvironmentKeys.of("env_1", f"tr_{kind}_sk_" + "aB3" * 8)

        assert EnvironmentKeys.of("env_1", f"tr_{kind}_sk_" + "aB3" * 9)

    @pytest.mark.parametrize("end", ["\n", " ", "é", "\x00", "\ud800"])
    def test_a_secret_that_no_header_can_carry_is_refused(self, end: str) -> None:
        """Even where weak ones are allowed; a line break at the end is the usual slip."""
        with pytest.raises(UnusableSecret, match="printable ASCII"):
            EnvironmentKeys.of("env_1", SECRET + end, allow_weak=True)

    def test_an_empty_secret_is_never_allowed(self) -> None:
        """An HMAC with no key is no signature."""
        with pytest.raises(UnusableSecret, match="empty"):
            EnvironmentKeys.of("env_1", "", allow_weak=True)

    def test_generated_keys_are_strong_and_can_sign(self) -> None:
        """They are new each time, long enough to go unmentioned, and do not look restricted."""
        first, second = generate_secret_key(), generate_secret_key("prod")

        assert re.fullmatch(r"tr_dev_[0-9A-Za-z]{40}", first)
        assert re.fullmatch(r"tr_prod_[0-9A-Za-z]{40}", second)
        assert first != generate_secret_key()
        assert Keyring([EnvironmentKeys.of("a", first), EnvironmentKeys.of("b", second)]).warnings() == []

    def test_no_repr_shows_a_secret(self) -> None:
        """Keys end up in logs and tracebacks by way of repr()."""
        keys = rotated(retired_at=NOW)

        for thing in (keys, keys.current, keys.previous, Keyring([keys]), [Keyring([keys])]):
            assert SECRET not in repr(thing)
            assert OLD_SECRET not in repr(thing)

    @pytest.mark.parametrize("id_", ["", " ", "a b", "a{b}", "a:b", "a/b", "_a", "é", "a\n", "x" * 129])
    def test_an_environment_id_is_a_plain_word(self, id_: str) -> None:
        """It becomes part of storage keys and log lines, where nothing should have to be escaped."""
        with pytest.raises(BadKeyring, match="id"):
            EnvironmentKeys.of(id_, SECRET)

    def test_a_current_key_is_not_retired(self) -> None:
        """What signs new tokens has no end."""
        with pytest.raises(BadKeyring, match="retired"):
            EnvironmentKeys(environment=EnvironmentId("env_1"), current=SigningKey(SECRET, retired_at=NOW))


class TestKeyring:
    def test_a_secret_opens_its_environment(self) -> None:
        """Each secret leads to one environment, and anything else to none."""
        keyring = Keyring([EnvironmentKeys.of("one", SECRET), EnvironmentKeys.of("two", OTHER_SECRET)])

        assert keyring.environment_of(SECRET) == "one"
        assert keyring.environment_of(OTHER_SECRET) == "two"
        for wrong in ("", SECRET[:-1], SECRET + "x", SECRET.upper(), "é", "\ud800"):
            assert keyring.environment_of(wrong) is None
        assert keyring.environments == ("one", "two")

    def test_a_retired_secret_opens_for_a_day(self) -> None:
        """From the 24th hour on it opens nothing."""
        keyring = Keyring([rotated(retired_at=NOW)])

        assert keyring.environment_of(OLD_SECRET, now=NOW + DAY - 1) == "env_1"
        assert keyring.environment_of(OLD_SECRET, now=NOW + DAY) is None
        assert keyring.environment_of(SECRET, now=NOW + DAY) == "env_1"

    def test_the_grace_period_can_be_chosen(self) -> None:
        """It is a parameter of the environment's keys."""
        keyring = Keyring([rotated(retired_at=NOW, grace=timedelta(hours=1))])

        assert keyring.environment_of(OLD_SECRET, now=NOW + 3_599) == "env_1"
        assert keyring.environment_of(OLD_SECRET, now=NOW + 3_600) is None

    def test_a_previous_secret_without_a_time_is_honoured_while_listed(self) -> None:
        """Nothing says when it was retired, so taking it off the list ends it."""
        assert Keyring([rotated(retired_at=None)]).environment_of(OLD_SECRET, now=NOW + 999 * DAY) == "env_1"

    def test_the_current_secret_may_be_listed_as_previous_too(self) -> None:
        """A rotation begins that way; the current key stays without an end."""
        keys = EnvironmentKeys(
            environment=EnvironmentId("env_1"),
            current=SigningKey(SECRET),
            previous=(SigningKey(SECRET, retired_at=NOW),),
        )

        assert Keyring([keys]).environment_of(SECRET, now=NOW + 9 * DAY) == "env_1"

    def test_two_environments_cannot_share_a_secret(self) -> None:
        """Not even a previous one: it would open one tenant's data with another's key."""
        with pytest.raises(DuplicateSecret, match="'env_1' and 'two'") as refused:
            Keyring([rotated(retired_at=NOW), EnvironmentKeys.of("two", OLD_SECRET)])

        assert OLD_SECRET not in str(refused.value)

    def test_an_environment_is_listed_once(self) -> None:
        """Otherwise one of the two would silently lose its keys."""
        with pytest.raises(BadKeyring, match="twice"):
            Keyring([EnvironmentKeys.of("one", SECRET), EnvironmentKeys.of("one", OTHER_SECRET)])

    def test_keys_are_found_by_environment(self) -> None:
        """A backend mints with them; an unknown id is an error that names it."""
        keys = EnvironmentKeys.of("one", SECRET)

        assert Keyring([keys]).keys_of("one") is keys
        with pytest.raises(UnknownEnvironment, match="'two'"):
            Keyring([keys]).keys_of("two")


class TestFromEnviron:
    def test_one_key_makes_the_default_environment(self) -> None:
        """A single variable is enough."""
        keyring = Keyring.from_environ({"RUNCAST_SECRET_KEY": f" {SECRET}\n"})

        assert keyring.environment_of(SECRET) == "default"

    def test_the_environment_can_be_named(self) -> None:
        """RUNCAST_ENVIRONMENT is its id."""
        environ = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_ENVIRONMENT": "acme"}

        assert Keyring.from_environ(environ).environment_of(SECRET) == "acme"

    def test_the_variable_of_the_sdk_is_a_fallback(self) -> None:
        """Ours wins when both are set."""
        assert Keyring.from_environ({"TRIGGER_SECRET_KEY": SECRET}).environment_of(SECRET) == "default"

        both = Keyring.from_environ({"TRIGGER_SECRET_KEY": OTHER_SECRET, "RUNCAST_SECRET_KEY": SECRET})
        assert both.environment_of(SECRET) == "default"
        assert both.environment_of(OTHER_SECRET) is None

    def test_previous_keys_may_have_a_time(self) -> None:
        """`key` counts while it is listed, `key@time` for a day after that time."""
        keyring = Keyring.from_environ(
            {
                "RUNCAST_SECRET_KEY": SECRET,
                "RUNCAST_PREVIOUS_SECRET_KEYS": f"{OLD_SECRET}, {OTHER_SECRET}@{NOW_TEXT} ,",
            }
        )

        assert keyring.environment_of(OLD_SECRET, now=NOW + 99 * DAY) == "default"
        assert keyring.environment_of(OTHER_SECRET, now=NOW + DAY - 1) == "default"
        assert keyring.environment_of(OTHER_SECRET, now=NOW + DAY) is None

    @pytest.mark.parametrize("time", ["", "soon", "2026-01-31T10:00:00", "2026-13-01T00:00:00Z", "part-of-a-secret"])
    def test_a_time_that_is_none_is_refused(self, time: str) -> None:
        """The error names the variable, and repeats nothing: what follows '@' may belong to a secret."""
        environ = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_PREVIOUS_SECRET_KEYS": f"{OLD_SECRET}@{time}"}

        with pytest.raises(BadKeyring, match="RUNCAST_PREVIOUS_SECRET_KEYS: what follows '@'") as refused:
            Keyring.from_environ(environ)

        assert OLD_SECRET not in str(refused.value)
        assert "part-of-a-secret" not in str(refused.value)

    @pytest.mark.parametrize("environ", [{}, {"RUNCAST_SECRET_KEY": "  "}, {"RUNCAST_ENVIRONMENT": "acme"}])
    def test_without_a_key_the_error_says_what_to_set(self, environ: dict[str, str]) -> None:
        """Its kind is its own, so that a development server can make a key instead."""
        with pytest.raises(NoSecretKey, match="RUNCAST_SECRET_KEY"):
            Keyring.from_environ(environ)

    def test_weak_keys_need_permission(self) -> None:
        """`allow_weak` reaches every key."""
        with pytest.raises(WeakSecret):
            Keyring.from_environ({"RUNCAST_SECRET_KEY": "dev"})

        assert Keyring.from_environ({"RUNCAST_SECRET_KEY": "dev"}, allow_weak=True).environment_of("dev")

    def test_a_file_and_a_key_contradict_each_other(self, tmp_path: Path) -> None:
        """One of them would be ignored; but the variable of the SDK may stay."""
        path = tmp_path / "environments.toml"
        path.write_text(f'[environments.acme]\nsecret_key = "{SECRET}"\n')
        file_only = {"RUNCAST_ENVIRONMENTS_FILE": str(path)}

        assert Keyring.from_environ({**file_only, "TRIGGER_SECRET_KEY": "x"}).environments == ("acme",)
        with pytest.raises(BadKeyring, match="keep one"):
            Keyring.from_environ({**file_only, "RUNCAST_SECRET_KEY": SECRET})

    def test_secrets_can_be_in_files(self, tmp_path: Path) -> None:
        """`_FILE` behind the name: what Docker and Kubernetes mount, with a line break at its end."""
        (tmp_path / "key").write_text(f"{SECRET}\n")
        (tmp_path / "previous").write_text(f"{OLD_SECRET}\n{OTHER_SECRET}@{NOW_TEXT}\n")
        files = {"RUNCAST_SECRET_KEY_FILE": "key", "RUNCAST_PREVIOUS_SECRET_KEYS_FILE": "previous"}

        keyring = Keyring.from_environ({name: str(tmp_path / path) for name, path in files.items()})

        assert keyring.environment_of(SECRET) == keyring.environment_of(OLD_SECRET) == "default"
        assert keyring.environment_of(OTHER_SECRET, now=NOW + DAY) is None
        assert Keyring.from_environ({"TRIGGER_SECRET_KEY_FILE": str(tmp_path / "key")}).environment_of(SECRET)

    @pytest.mark.parametrize(
        ("environ", "told"),
        [
            ({"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_SECRET_KEY_FILE": "key"}, "keep one"),
            ({"RUNCAST_SECRET_KEY_FILE": "none"}, r"RUNCAST_SECRET_KEY_FILE \(.*none\): it cannot be read"),
            ({"RUNCAST_SECRET_KEY_FILE": "empty"}, "it is empty"),
            ({"RUNCAST_SECRET_KEY_FILE": "binary"}, "it is not text"),
            ({"RUNCAST_SECRET_KEY_FILE": "key", "RUNCAST_ENVIRONMENTS_FILE": "x.toml"}, "keep one"),
        ],
    )
    def test_a_file_that_is_not_right_is_named(self, tmp_path: Path, environ: dict[str, str], told: str) -> None:
        """With its variable; and never with what is in it."""
        for name, content in {"key": SECRET.encode(), "empty": b" \n", "binary": b"\xff\xfe"}.items():
            (tmp_path / name).write_bytes(content)
        filled = {name: str(tmp_path / text) if name.endswith("_FILE") else text for name, text in environ.items()}

        with pytest.raises(BadKeyring, match=told) as refused:
            Keyring.from_environ(filled)

        assert SECRET not in str(refused.value)

    @pytest.mark.parametrize(
        ("environ", "source"),
        [
            ({"RUNCAST_SECRET_KEY": "dev"}, "RUNCAST_SECRET_KEY"),
            ({"TRIGGER_SECRET_KEY": "dev"}, "TRIGGER_SECRET_KEY"),
            ({"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_PREVIOUS_SECRET_KEYS": "dev"}, "RUNCAST_PREVIOUS_SECRET_KEYS"),
        ],
    )
    def test_a_weak_key_is_told_by_where_it_is_written(self, environ: dict[str, str], source: str) -> None:
        """So that whoever has several knows which one to replace; the same for one that is only short."""
        with pytest.raises(WeakSecret, match=rf"^{source}: ") as refused:
            Keyring.from_environ(environ)
        assert refused.value.source == source

        doubtful = {name: "s" * 25 if text == "dev" else text for name, text in environ.items()}
        (warning,) = Keyring.from_environ(doubtful).warnings()
        assert warning.startswith(f"{source}: ")


class TestLater:
    def test_when_a_secret_stops_to_count(self) -> None:
        """Never, at the end of its grace, or at once when it is not among them."""
        current, retired = SigningKey(SECRET), SigningKey(OLD_SECRET, retired_at=NOW)
        keys = EnvironmentKeys(environment=EnvironmentId("one"), current=current, previous=(retired,))
        keyring = Keyring([keys])

        assert keyring.end_of("one", SECRET) == float("inf")
        assert keyring.end_of("one", OLD_SECRET) == NOW + DAY
        assert keyring.end_of("one", OTHER_SECRET) == keyring.end_of("two", SECRET) == 0

    def test_a_keyring_can_be_sent_to_another_process(self) -> None:
        """Where secrets are looked up by other hashes than here."""
        script = f"import pickle, sys\nprint(pickle.load(sys.stdin.buffer).environment_of({SECRET!r}))\n"
        sent = pickle.dumps(Keyring([EnvironmentKeys.of("one", SECRET)]))

        answer = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, check=True)

        assert answer.stdout == b"one\n"


class TestFromFile:
    @pytest.fixture(params=["toml", "json"])
    def several(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path = tmp_path / f"environments.{request.param}"
        if request.param == "toml":
            path.write_text(
                f"""
                [environments.acme]
                secret_key = "{SECRET}"
                previous_secret_keys = [
                    "tr_dev_with@sign_and_more_than_24_bytes",
                    {{ secret_key = "{OLD_SECRET}", retired_at = {NOW_TEXT} }},
                ]
                [environments.umbrella]
                secret_key = "{OTHER_SECRET}"
                """
            )
        else:
            retired = {"secret_key": OLD_SECRET, "retired_at": NOW_TEXT}
            acme = {
                "secret_key": SECRET,
                "previous_secret_keys": ["tr_dev_with@sign_and_more_than_24_bytes", retired],
            }
            environments = {"acme": acme, "umbrella": {"secret_key": OTHER_SECRET}}
            path.write_text(json.dumps({"environments": environments}))
        return path

    def test_a_file_lists_several_environments(self, several: Path) -> None:
        """TOML and JSON say the same, previous keys and their times included."""
        keyring = Keyring.from_file(several)

        assert keyring.environments == ("acme", "umbrella")
        assert keyring.environment_of(OTHER_SECRET) == "umbrella"
        assert keyring.environment_of("tr_dev_with@sign_and_more_than_24_bytes") == "acme"
        assert keyring.environment_of(OLD_SECRET, now=NOW + DAY - 1) == "acme"
        assert keyring.environment_of(OLD_SECRET, now=NOW + DAY) is None

    def test_the_grace_period_applies_to_a_file_too(self, several: Path) -> None:
        """It reaches every environment of the file."""
        keyring = Keyring.from_file(several, grace=timedelta(0))

        assert keyring.environment_of(OLD_SECRET, now=NOW) is None

    @pytest.mark.parametrize(
        ("document", "reason"),
        [
            ({}, "no environments"),
            ({"environments": {}}, "no environments"),
            ([], "a table is expected"),
            ({"environments": [SECRET]}, "a table is expected"),
            ({"environments": {"a": SECRET}}, "a table is expected"),
            ({"environments": {"a": {}}}, "secret_key must be set"),
            ({"environments": {"a": {"secret_key": 5}}}, "secret_key must be set"),
            ({"environment": {}}, "'environment' is not known"),
            ({"environments": {"a": {"secret_key": SECRET, "previous": []}}}, "'previous' is not known"),
            ({"environments": {"a": {"secret_key": SECRET, "previous_secret_keys": SECRET}}}, "must be a list"),
            ({"environments": {"a": {"secret_key": SECRET, "previous_secret_keys": [5]}}}, "a table is expected"),
            (
                {
                    "environments": {
                        "a": {
                            "secret_key": SECRET,
                            "previous_secret_keys": [{"secret_key": OLD_SECRET, "retired_at": "2026-01-31"}],
                        }
                    }
                },
                "retired_at must be a time",
            ),
        ],
    )
    def test_an_unexpected_document_is_refused(self, tmp_path: Path, document: Any, reason: str) -> None:
        """The error says where and why, so that a typing error is found; it holds no secret."""
        path = tmp_path / "environments.json"
        path.write_text(json.dumps(document))

        with pytest.raises(BadKeyring, match=reason) as refused:
            Keyring.from_file(path)

        assert str(path) in str(refused.value)
        assert SECRET not in str(refused.value)

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("keys.toml", f'[environments.a]\nsecret_key = "{SECRET}\n'.encode(), "line 2"),
            ("keys.json", f'{{"environments": "{SECRET}'.encode(), "line 1"),
            ("keys.json", b"[" * 100_000, "not valid"),
            ("keys.json", b"\xff\xfe", "UTF-8"),
            ("keys.yaml", b"", "must end in"),
        ],
    )
    def test_an_unreadable_file_is_refused(self, tmp_path: Path, name: str, content: bytes, reason: str) -> None:
        """Neither the error nor what it was raised from holds the text of the file."""
        (tmp_path / name).write_bytes(content)

        with pytest.raises(BadKeyring, match=reason) as refused:
            Keyring.from_file(tmp_path / name)

        assert SECRET not in str(refused.value)
        assert refused.value.__cause__ is None

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """With the operating system's reason, as an error of ours."""
        with pytest.raises(AuthError, match="No such file"):
            Keyring.from_file(tmp_path / "nothing.toml")
