"""Tokens that the official SDK minted are verified as those of ours."""

from auth import (
    EnvironmentKeys,
    Keyring,
    Resource,
    mint,
    verify,
)
from tests.auth.helpers import (
    NOW,
    decode,
)

# Minted with version 4.8.3 of the official SDK, its clock at NOW, by the functions in the comments.
SDK_SECRET = "tr_dev_vector_key_of_exactly_40_bytes_xyz"
SDK_SHORT_SECRET = "tr_dev_short_key_of_28_bytes"
SDK_PUBLIC = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwic2NvcGVzIjpbInJlYWQ6cnVuczpydW5fMSIsInJlYWQ6dGFnczphOmIiLCJy"
    "ZWFkOnRhc2tzIiwid3JpdGU6aW5wdXRTdHJlYW1zOnJ1bl8xIl0sImlzcyI6Imh0dHBzOi8vaWQudHJpZ2dlci5kZXYiLCJh"
    "dWQiOiJodHRwczovL2FwaS50cmlnZ2VyLmRldiIsImV4cCI6MTc2MDAwMDkwMCwiaWF0IjoxNzYwMDAwMDAwfQ."
    "2D7qNVnGm0aOwImj4ivMckZYWxkqyWStNYjykt48Uq4"
)
SDK_SKIPPING = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwic2NvcGVzIjpbInJlYWQ6cnVuczpydW5fMSIsInJlYWQ6cnVuczpydW5fMiJd"
    "LCJyZWFsdGltZSI6eyJza2lwQ29sdW1ucyI6WyJwYXlsb2FkIiwib3V0cHV0Il19LCJpc3MiOiJodHRwczovL2lkLnRyaWdn"
    "ZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAiOjE3NjAwMDU0MDAsImlhdCI6MTc2MDAwMDAw"
    "MH0."
    "L55Kd1vo8K1WLKjnyJnRA13gh8sTdsrsCZCTVuXQrXE"
)
SDK_TRIGGER = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwib3R1Ijp0cnVlLCJzY29wZXMiOlsidHJpZ2dlcjp0YXNrczpzZW5kLWVtYWls"
    "Il0sImlzcyI6Imh0dHBzOi8vaWQudHJpZ2dlci5kZXYiLCJhdWQiOiJodHRwczovL2FwaS50cmlnZ2VyLmRldiIsImV4cCI6"
    "MTc2MDAwMzYwMCwiaWF0IjoxNzYwMDAwMDAwfQ."
    "wu2PEYWFhM_ssiGpvHHHhNBB9g63kh0u3isUVM3cKGc"
)
SDK_MULTIPLE = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwib3R1IjpmYWxzZSwic2NvcGVzIjpbInRyaWdnZXI6dGFza3M6c2VuZC1lbWFp"
    "bCJdLCJpc3MiOiJodHRwczovL2lkLnRyaWdnZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAi"
    "OjE3NjAwMDcyMDAsImlhdCI6MTc2MDAwMDAwMH0."
    "dB1LPoe3ksEOB9ko27v_o1nithudnukU9QaEqHrgVU0"
)
SDK_NOTHING = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwiaXNzIjoiaHR0cHM6Ly9pZC50cmlnZ2VyLmRldiIsImF1ZCI6Imh0dHBzOi8v"
    "YXBpLnRyaWdnZXIuZGV2IiwiZXhwIjoxNzYwMDAwOTAwLCJpYXQiOjE3NjAwMDAwMDB9."
    "2kXgaTmD8CE8NnvsfETaE-C1zo7qdUQwBiCMFP91VGs"
)
SDK_ADMIN = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwic2NvcGVzIjpbImFkbWluIl0sImlzcyI6Imh0dHBzOi8vaWQudHJpZ2dlci5k"
    "ZXYiLCJhdWQiOiJodHRwczovL2FwaS50cmlnZ2VyLmRldiIsImV4cCI6MTc2MDAwMDkwMCwiaWF0IjoxNzYwMDAwMDAwfQ."
    "x8DZc_4Uf8bZpkauZf5AJ2-70OUU_1d2AmciRseJwF8"
)


class TestTokensOfTheOfficialSdk:
    KEYRING = Keyring([EnvironmentKeys.of("env_1", SDK_SECRET)])

    def test_a_public_token(self) -> None:
        """createPublicToken: the documented example, ids with colons and whole types included."""
        verified = verify(SDK_PUBLIC, self.KEYRING, now=NOW)

        assert [str(scope) for scope in verified.grant.scopes] == [
            "read:runs:run_1",
            "read:tags:a:b",
            "read:tasks",
            "write:inputStreams:run_1",
        ]
        assert (verified.issued_at, verified.expires_at) == (NOW, NOW + 900)
        assert (verified.one_time, verified.jti, verified.grant.skip_columns) == (False, None, None)

    def test_a_public_token_that_hides_columns(self) -> None:
        """createPublicToken with realtime.skipColumns and an expirationTime of "1.5 hours"."""
        verified = verify(SDK_SKIPPING, self.KEYRING, now=NOW)

        assert verified.grant.skip_columns == frozenset({"payload", "output"})
        assert verified.expires_at == NOW + 5_400

    def test_a_token_to_trigger_once(self) -> None:
        """createTriggerPublicToken, with a Date as its end."""
        verified = verify(SDK_TRIGGER, self.KEYRING, now=NOW)

        assert verified.one_time
        assert verified.expires_at == NOW + 3_600
        assert verified.grant.allows("trigger", [Resource("tasks", "send-email")])

    def test_a_token_to_trigger_often(self) -> None:
        """createTriggerPublicToken with multipleUse, and unix seconds as its end."""
        verified = verify(SDK_MULTIPLE, self.KEYRING, now=NOW)

        assert not verified.one_time
        assert verified.expires_at == NOW + 7_200

    def test_a_token_without_scopes(self) -> None:
        """createPublicToken with nothing: good, and allows nothing."""
        assert verify(SDK_NOTHING, self.KEYRING, now=NOW).grant.scopes == ()

    def test_a_token_of_a_short_key(self) -> None:
        """createPublicToken({scopes: {admin: true}}) with a key of 28 bytes."""
        keyring = Keyring([EnvironmentKeys.of("env_1", SDK_SHORT_SECRET)])

        assert verify(SDK_ADMIN, keyring, now=NOW).grant.allows("cancel", [Resource("runs", "run_1")])

    def test_the_same_permissions_give_the_same_claims(self) -> None:
        """What we mint differs from the SDK's token in nothing but its name."""
        permissions = {
            "read": {"runs": ["run_1"], "tags": "a:b", "tasks": True},
            "write": {"inputStreams": "run_1"},
        }
        ours = mint(permissions, EnvironmentKeys.of("env_1", SDK_SECRET), jti="name", now=NOW)

        assert ours.split(".")[0] == SDK_PUBLIC.split(".")[0]
        assert decode(ours.split(".")[1]) == {**decode(SDK_PUBLIC.split(".")[1]), "jti": "name"}
