"""Who may import whom. The arrows point one way, so that each room can be read, and tested, without those above it."""

from __future__ import annotations

import ast
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("auth", "gateway")

#: What everybody may use: names of things and what can go wrong with them.
VALUES: Final = {"errors", "runs", "feeds", "cursors", "durations", "revocations", "secret_files", "sizes"}
#: How changes are written down: still values, but with the codec.
WRITING: Final = VALUES | {"codec", "changes", "metadata"}

#: Room → the rooms that it may import. Every room may import itself.
ALLOWED: Final[dict[str, set[str]]] = {
    "auth": set(),
    "errors": set(),
    "durations": {"errors"},
    "secret_files": {"errors"},
    "sizes": {"errors"},
    "revocations": set(),
    "runs": {"errors"},
    "feeds": {"errors"},
    "cursors": {"errors"},
    "limits": {"errors"},
    "codec": VALUES,
    "changes": VALUES | {"codec"},
    "metadata": VALUES | {"codec", "changes", "store"},
    "metrics": set(),
    "monitoring": VALUES | {"auth", "feed", "metrics", "tracing", "transports"},
    "tracing": {"changes", "codec"},
    "store": WRITING | {"metrics"},
    "feed": VALUES | {"codec", "limits", "metrics", "store"},
    "publisher": WRITING | {"store", "tracing"},
    "integrations": VALUES | {"codec", "changes", "publisher"},
    "viewer": VALUES | {"codec", "store"},
    "doctor": VALUES | {"auth", "publisher", "store", "transports", "viewer"},
    "transports": VALUES | {"codec", "feed", "limits", "metrics", "store", "settings", "auth"},
    "settings": VALUES | {"changes", "store", "transports"},
    "configuration": VALUES | {"auth", "changes", "settings", "store", "transports"},
    "configured": VALUES | {"app", "auth", "configuration", "logs", "settings", "transports"},
    "logs": set(),
    "api": WRITING | {"auth", "feed", "metrics", "store", "tracing", "transports"},
    "triggerdev": WRITING | {"api", "auth", "feed", "store", "transports"},
    "health": VALUES | {"transports"},
    "web": VALUES | {"api", "codec", "feed", "limits", "store", "transports"},
    "server": VALUES | {"metrics", "settings", "transports"},
    "app": VALUES
    | {
        "api",
        "auth",
        "feed",
        "health",
        "limits",
        "logs",
        "metrics",
        "monitoring",
        "settings",
        "store",
        "tracing",
        "transports",
        "triggerdev",
        "web",
    },
    "cli": VALUES
    | {"app", "auth", "changes", "codec", "doctor", "configuration", "configured", "logs", "publisher"}
    | {"server", "settings", "store", "transports", "viewer", "web"},
    "": VALUES | {"app", "changes", "publisher", "settings", "store", "viewer"},  # the package itself: its public names
}

#: A library that only some rooms know, or some files of a room → those.
LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "redis": ("gateway/store/", "gateway/publisher/", "gateway/doctor/", "gateway/cli/serve.py"),
    "hiredis": ("gateway/store/",),
    "orjson": ("gateway/codec.py",),
    "jwt": ("auth/tokens.py",),
    "starlette": (
        *("gateway/api/", "gateway/app.py", "gateway/configured.py", "gateway/health.py", "gateway/triggerdev/"),
        *("gateway/monitoring/", "gateway/server/"),
    ),
    "uvicorn": ("gateway/server/",),
    "prometheus_client": ("gateway/metrics/exposition.py",),
    "opentelemetry": ("gateway/tracing.py", "gateway/monitoring/spans.py"),
    "httptools": ("gateway/server/",),
    "websockets": ("gateway/doctor/", "gateway/server/", "gateway/viewer/"),
    "celery": ("gateway/integrations/",),
    "dotenv": ("gateway/configuration/",),
    "typer": ("gateway/cli/",),
    "rich": ("gateway/cli/",),
}

#: Files that are settings' own parts: values that happen to live with what uses them.
SETTINGS_PARTS: Final = {"gateway.transports.origins", "gateway.transports.sinks", "gateway.store.redis_keys"}
#: What the feeds take of the store: its keys, what it reads, and the connection on which it hears.
STORE_SEEN_BY_FEED: Final = {
    *("gateway.store.pages", "gateway.store.redis_keys", "gateway.store.subscription"),
}


@dataclass(frozen=True)
class Import:
    """One import of one file."""

    file: str
    line: int
    module: str
    #: Only for the type checker: nothing is loaded.
    typing: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def room_of(module: str) -> str:
    """`gateway.store.redis_keys` → store, `gateway.codec` → codec, `auth.tokens` → auth, `gateway` → ''."""
    package, _, rest = module.partition(".")
    return package if package == "auth" else rest.partition(".")[0]


def _module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_of(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports here name the whole module"
            assert node.module is not None
            names = [_submodule(node.module, alias.name) for alias in node.names]
        file = path.relative_to(ROOT).as_posix()
        found += [Import(file, node.lineno, name, id(node) in for_types) for name in names]  # type: ignore[attr-defined]
    return found


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _submodule(module: str, name: str) -> str:
    """`from gateway.transports import refusals` is an import of that file."""
    inner = ROOT.joinpath(*module.split("."), name)
    return f"{module}.{name}" if inner.with_suffix(".py").exists() or inner.is_dir() else module


FILES: Final = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@functools.cache
def imports() -> list[Import]:
    """All of all files. Read once, and only where somebody asks: every test process collects this file."""
    return [found for path in FILES for found in _imports_of(path)]


def test_there_is_something_to_look_at() -> None:
    """A test that reads nothing would always pass."""
    assert len(FILES) > 50
    assert len(imports()) > 300
    assert any(found.typing for found in imports())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    """Types included: who needs to know another's types depends on it."""
    room = room_of(_module_of(path))
    assert room in ALLOWED, f"{room} is new here: say whom it may import"

    file = path.relative_to(ROOT).as_posix()

    wrong = [
        str(found)
        for found in imports()
        if found.file == file and found.top in PACKAGES
        if room_of(found.module) not in ALLOWED[room] | {room}
    ]

    assert wrong == []


def test_no_room_may_import_what_it_does_not() -> None:
    """What is allowed and not done would be a door that nobody watches. Values are free to all."""
    done = {
        (room_of(_module_of(ROOT / found.file)), room_of(found.module)) for found in imports() if found.top in PACKAGES
    }

    unused = {(room, other) for room, others in ALLOWED.items() for other in others - VALUES} - done
    unknown = {
        (library, place)
        for library, places in LIBRARIES.items()
        for place in places
        if not any(found.top == library and found.file.startswith(place) for found in imports())
    }

    assert unused == set()
    assert unknown == set()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_known_only_where_it_belongs(library: str) -> None:
    """What is in one room can be replaced there."""
    wrong = [str(found) for found in imports() if found.top == library if not found.file.startswith(LIBRARIES[library])]

    assert wrong == []


def test_no_other_library_is_used() -> None:
    """Each library that is imported anywhere is in the table above, so that a new one is a decision."""
    known = {*PACKAGES, *LIBRARIES, *sys.stdlib_module_names}

    assert {found.top for found in imports()} - known == set()


def test_auth_is_usable_alone() -> None:
    """Minting a token needs the standard library and pyjwt, and nothing of ours."""
    used = {found.top for found in imports() if found.file.startswith("auth/")}

    assert used - set(sys.stdlib_module_names) == {"auth", "jwt"}


def test_publishing_needs_no_server() -> None:
    """A worker that publishes never loads what serves viewers."""
    needed, waiting = set[str](), ["gateway.publisher.publisher", "gateway.publisher.asynchronous"]
    while waiting:
        module = waiting.pop()
        if module in needed:
            continue
        needed.add(module)
        file = f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"
        waiting += [found.module for found in imports() if found.file in file and not found.typing]

    assert not {room_of(name) for name in needed if name.startswith("gateway.")} & {
        "app",
        "server",
        "transports",
        "feed",
    }
    assert not {name.partition(".")[0] for name in needed} & {"starlette", "uvicorn", "websockets", "typer", "celery"}


@pytest.mark.parametrize(
    ("room", "other", "seen"),
    [
        ("settings", "transports", SETTINGS_PARTS),
        ("settings", "store", SETTINGS_PARTS),
        ("configuration", "transports", SETTINGS_PARTS),
        ("configuration", "store", SETTINGS_PARTS),
        ("", "store", SETTINGS_PARTS),
        ("feed", "store", STORE_SEEN_BY_FEED),
        ("viewer", "store", {"gateway.store.embedded_directory"}),  # where `runcast dev` leaves its keys
        ("metadata", "store", {"gateway.store.writing"}),  # the words in which operations are handed on
    ],
)
def test_a_room_sees_only_these_files_of_another(room: str, other: str, seen: set[str]) -> None:
    """Where the arrow would otherwise be a knot."""
    used = {found.module for found in imports() if room_of(_module_of(ROOT / found.file)) == room}

    assert {name for name in used if name.startswith(f"gateway.{other}.")} - seen == set()


def test_the_transports_know_settings_by_type_only() -> None:
    """Settings are built from parts of the transports, so nothing may be loaded the other way round."""
    loaded = [
        str(found)
        for found in imports()
        if found.file.startswith("gateway/transports/") and found.module == "gateway.settings" and not found.typing
    ]

    assert loaded == []
