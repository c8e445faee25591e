"""Who writes the elements in JSX or in Vue templates is told by their tools what there is, and what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENT: Final = Path(__file__).parents[2] / "client"
TSC: Final = CLIENT / "node_modules" / ".bin" / "tsc"
#: What somebody writes; each line after `@ts-expect-error` must be refused.
JSX: Final = """
import "@runcast/client/elements";
import type {} from "@runcast/client/%s";

export const good = (
  <main>
    <run-status run="run_1" token-url="/token" variant="steps" class="wide" onrun-end={({ detail }) => detail.run.id}>
      <a slot="done" href="/exports/1">Download</a>
    </run-status>
    <run-list tag="customer:7" since="1h" limit={50} href="/runs/{id}" getToken={async () => ({ token: "…" })} />
  </main>
);
// @ts-expect-error there is no such variant
export const variant = <run-status run="run_1" variant="pie" />;
// @ts-expect-error only lists have names that lead anywhere
export const link = <run-status run="run_1" href="/runs/{id}" />;
// @ts-expect-error words are text, or make some
export const words = <run-list all words={{ none: 0 }} />;

document.addEventListener("run-end", ({ detail }) => detail.status);
document.querySelector("run-list")?.addEventListener("run-end", ({ detail }) => detail.run.id);
"""
VUE: Final = """
import "@runcast/client/elements";
import type {} from "@runcast/client/vue";
import type { GlobalComponents } from "vue";

type Props<Name extends keyof GlobalComponents> = InstanceType<GlobalComponents[Name]>["$props"];
export const good: Props<"run-status"> = { run: "run_1", variant: "log", onRunEnd: ({ detail }) => detail.run.id };
// @ts-expect-error there is no such variant
export const variant: Props<"run-status"> = { run: "run_1", variant: "pie" };
"""
#: Framework → its packages, by the names under which our own development has them.
INSTALLED: Final[dict[str, dict[str, str]]] = {
    "react-18": {"@types/react": "types-react-18", "@types/prop-types": "@types/prop-types"},
    "react-19": {"@types/react": "@types/react"},
    "preact": {"preact": "preact"},
    "vue": {"vue": "vue", "@vue": "@vue"},
}


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's types, made as `npm pack` makes them."""
    made = tmp_path_factory.mktemp("types")
    check(CLIENT, "--project", "tsconfig.types.json", "--outDir", str(made))
    return made


@pytest.mark.parametrize("framework", INSTALLED)
def test_a_tag_is_checked(framework: str, types: Path, tmp_path: Path) -> None:
    install(tmp_path, types, INSTALLED[framework] | {"csstype": "csstype"})
    name = framework.partition("-")[0]
    file = "use.ts" if name == "vue" else "use.tsx"
    (tmp_path / file).write_text(VUE if name == "vue" else JSX % name)
    options: dict[str, Any] = {
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2023", "dom", "dom.iterable"],
        "types": [],
        "skipLibCheck": False,
        "preserveSymlinks": True,
        "noEmit": True,
        "jsx": "react-jsx",
        "jsxImportSource": name,
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": [file]}))
    check(tmp_path, "--project", "tsconfig.json")


def install(place: Path, types: Path, packages: Mapping[str, str]) -> None:
    """As npm would: our package, and what the framework consists of."""
    modules = place / "node_modules"
    ours = modules / "@runcast" / "client"
    ours.mkdir(parents=True)
    shutil.copy(CLIENT / "package.json", ours)
    shutil.copytree(CLIENT / "types", ours / "types")
    shutil.copytree(types, ours / "dist" / "types")
    for name, source in packages.items():
        (modules / name).parent.mkdir(exist_ok=True)
        (modules / name).symlink_to(CLIENT / "node_modules" / source)


def check(directory: Path, *arguments: str) -> None:
    ended = subprocess.run([TSC, *arguments], cwd=directory, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
