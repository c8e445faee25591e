"""nginx with the Nchan module of Debian (`nchan.conf`). Publishers POST to it, and viewers come to it: no Redis."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.processes import Server

#: Where Debian has them. A user other than root may not have the first one on the path.
PLACES: Final = "/usr/sbin:/usr/local/sbin"
MODULES: Final = Path("/usr/lib/nginx/modules")
_CONFIGURATION: Final = Path(__file__).with_name("nchan.conf")


class Nchan(Server):
    """nginx, with a directory of its own for as long as this is there."""

    def __init__(self, port: int, core: int | None) -> None:
        self._directory = TemporaryDirectory(prefix="runcast-nchan-")
        directory = self._directory.name
        file = Path(directory, "nginx.conf")
        file.write_text(_configuration(port, directory))
        super().__init__([_nginx() or "nginx", "-p", directory, "-c", str(file)], {}, port, core)


def _configuration(port: int, directory: str) -> str:
    # Its worker would be a user that must not look into the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    filled = {"port": str(port), "directory": directory, "modules": str(MODULES), "user": user}
    return re.sub("@([a-z]+)@", lambda name: filled.get(name[1], name[0]), _CONFIGURATION.read_text())


def missing() -> bool:
    return not (_nginx() and (MODULES / "ngx_nchan_module.so").exists())


def versions() -> str:
    """Of nginx, as it says itself, and of the module, as Debian does (the module says nothing)."""
    said = subprocess.run([_nginx() or "nginx", "-v"], capture_output=True, text=True, check=False).stderr
    query = ["dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan"]
    module = subprocess.run(query, capture_output=True, text=True, check=False).stdout if shutil.which(query[0]) else ""
    return f"nginx {said.strip().partition('/')[2]}, Nchan {module or '(no version known)'}"


def _nginx() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), PLACES]))
