"""The secret keys among the settings: who decides, and what is said of those that can't be used."""

from __future__ import annotations

import pickle

import pytest

from gateway.errors import Misconfigured
from tests.gateway.configuration.places import OTHER_SECRET, SECRET, Place

TABLES = f'[environments.acme]\nsecret_key = "{SECRET}"\nprevious_secret_keys = ["{OTHER_SECRET}"]\n'


def opened_by(place: Place, secret: str = SECRET, **environ: str) -> str | None:
    configuration = place.read(**environ)
    assert configuration.problems == ()
    return configuration.keyring().environment_of(secret)


def test_one_environment_by_variables(place: Place) -> None:
    """With its name, and keys that still hold."""
    environ = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_ENVIRONMENT": "acme"}

    assert opened_by(place, RUNCAST_SECRET_KEY=SECRET) == "default"
    assert opened_by(place, **environ) == "acme"
    assert opened_by(place, OTHER_SECRET, **environ, RUNCAST_PREVIOUS_SECRET_KEYS=OTHER_SECRET) == "acme"


def test_secrets_in_files(place: Place) -> None:
    """The list of previous keys with a key a line, too."""
    key, previous = (
        place.write("key", f"{SECRET}\n"),
        place.write("previous", f"x\n{OTHER_SECRET}@2999-01-01T00:00:00Z\n"),
    )
    files = {"RUNCAST_SECRET_KEY_FILE": key, "RUNCAST_PREVIOUS_SECRET_KEYS_FILE": previous}

    assert "cannot be used" in place.read(**files).problems[0]  # the x
    place.write("previous", f"{OTHER_SECRET}\n{OTHER_SECRET}@2999-01-01T00:00:00Z\n")

    assert opened_by(place, **files) == opened_by(place, OTHER_SECRET, **files) == "default"


@pytest.mark.parametrize("name", ["runcast.toml", "pyproject.toml"])
def test_environments_in_the_file_of_settings(place: Place, name: str) -> None:
    """In the same form as in a file of their own."""
    place.write(name, TABLES.replace("[environments", "[tool.runcast.environments") if name[0] == "p" else TABLES)

    assert opened_by(place) == opened_by(place, OTHER_SECRET) == "acme"


def test_one_key_in_the_file_of_settings(place: Place) -> None:
    place.write(
        "runcast.toml", f'secret_key = "{SECRET}"\nenvironment = "acme"\nprevious_secret_keys = ["{OTHER_SECRET}"]'
    )

    assert opened_by(place) == opened_by(place, OTHER_SECRET) == "acme"


def test_an_environments_file_that_the_file_of_settings_names(place: Place) -> None:
    path = place.write("keys.toml", TABLES)
    place.write("runcast.toml", f'environments_file = "{path}"')

    assert opened_by(place) == "acme"


def test_the_first_place_that_names_keys_decides(place: Place) -> None:
    """Whoever wonders why the others don't count is told."""
    place.write("runcast.toml", TABLES)

    configuration = place.read(RUNCAST_SECRET_KEY=OTHER_SECRET)

    assert configuration.keyring().environments == ("default",)
    assert configuration.warnings == (
        "[environments] in runcast.toml does not count: RUNCAST_SECRET_KEY in the environment comes before it",
    )


def test_the_variable_of_the_official_sdk_is_the_last_resort(place: Place) -> None:
    """It is set for the SDK, perhaps beside keys of ours."""
    assert opened_by(place, TRIGGER_SECRET_KEY=SECRET) == "default"
    place.write("runcast.toml", TABLES)
    assert opened_by(place, TRIGGER_SECRET_KEY=OTHER_SECRET, RUNCAST_ENVIRONMENT="x") == "acme"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"RUNCAST_SECRET_KEY": "short"}, "RUNCAST_SECRET_KEY in the environment: .* has 5 bytes, at least 24"),
        ({"RUNCAST_PREVIOUS_SECRET_KEYS": "short", "RUNCAST_SECRET_KEY": SECRET}, "RUNCAST_PREVIOUS_SECRET_KEYS in "),
        ({"TRIGGER_SECRET_KEY": "short"}, "TRIGGER_SECRET_KEY in the environment: "),
        ({"RUNCAST_SECRET_KEY_FILE": "{directory}/short"}, r"RUNCAST_SECRET_KEY_FILE \(.*/short\): "),
        (
            {"RUNCAST_SECRET_KEY_FILE": "{directory}/none"},
            r"RUNCAST_SECRET_KEY_FILE \(.*/none\): the file can't be read",
        ),
        (
            {"RUNCAST_SECRET_KEY_FILE": "/x", "RUNCAST_SECRET_KEY": SECRET},
            "RUNCAST_SECRET_KEY and .*_FILE are both set",
        ),
        ({"RUNCAST_ENVIRONMENTS_FILE": "{directory}/none.toml"}, "none.toml: it cannot be read"),
        ({"RUNCAST_ENVIRONMENTS_FILE": "{directory}/keys.toml"}, "keys.toml, environment 'b': .* has 5 bytes"),
        (
            {"RUNCAST_ENVIRONMENTS_FILE": "{directory}/keys.toml", "RUNCAST_SECRET_KEY": SECRET},
            "RUNCAST_SECRET_KEY in the environment and RUNCAST_ENVIRONMENTS_FILE in the environment both name",
        ),
    ],
)
def test_what_cannot_be_used_is_told_by_the_place_that_it_is_in(
    place: Place, environ: dict[str, str], told: str
) -> None:
    """And never with the secret."""
    place.write("short", "short\n")
    place.write("keys.toml", f'[environments.a]\nsecret_key = "{SECRET}"\n[environments.b]\nsecret_key = "short"\n')
    filled = {name: text.replace("{directory}", str(place.directory)) for name, text in environ.items()}

    problems = place.read(**filled).problems

    with pytest.raises(Misconfigured, match=told):
        place.read(**filled).refuse_problems()
    assert SECRET not in "".join(problems)


def test_two_environments_with_one_secret(place: Place) -> None:
    place.write("runcast.toml", TABLES + f'[environments.other]\nsecret_key = "{SECRET}"\n')

    assert place.read().problems == (
        "[environments] in runcast.toml: environments 'acme' and 'other' have a secret key in common",
    )


def test_a_short_secret_is_doubtful_and_in_development_it_is_not(place: Place) -> None:
    """Between 24 and 32 bytes; and with `runcast dev` of any length."""
    short = "s" * 25

    assert (
        place.read(RUNCAST_SECRET_KEY=short).warnings[0].startswith("RUNCAST_SECRET_KEY in the environment: a secret")
    )
    development = place.read(development=True, RUNCAST_SECRET_KEY="dev")
    assert (development.problems, development.warnings) == ((), ())


def test_without_a_key_it_is_told_how_to_have_one(place: Place) -> None:
    with pytest.raises(Misconfigured, match=r"RUNCAST_SECRET_KEY .*RUNCAST_SECRET_KEY_FILE.*runcast\.toml"):
        place.read().keyring()


def test_keys_can_be_sent_to_a_worker(place: Place) -> None:
    """They open there what they open here."""
    sent = pickle.loads(pickle.dumps(place.read(RUNCAST_SECRET_KEY=SECRET).keyring()))

    assert sent.environment_of(SECRET) == "default"
