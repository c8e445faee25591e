"""What a gateway finds in the place where it is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.configuration.reading import Configuration, read_configuration
from gateway.configuration.sources import Sources

if TYPE_CHECKING:
    from pathlib import Path

URL = "redis://localhost/0"
SECRET = "tr_test_the_secret_of_the_settings_0001"
OTHER_SECRET = "tr_test_the_secret_of_the_settings_0002"


@dataclass(frozen=True)
class Place:
    """A directory, and nothing of this machine's environment."""

    directory: Path

    def write(self, name: str, text: str) -> str:
        """A file, and its path."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def read(
        self, flags: dict[str, str] | None = None, /, *, development: Any = False, **environ: str
    ) -> Configuration:
        sources = Sources(flags=flags or {}, environ=environ, directory=self.directory, development=development)
        return read_configuration(sources, allow_weak=development)
