"""`/docs`: the OpenAPI document as a page. No script, nothing loaded from anywhere; in light and dark."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.api.forms import Schema

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --panel: #f6f8fa;
  --get: #0550ae; --post: #116329; --patch: #953800; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117;
  --panel: #151b23; --get: #79c0ff; --post: #7ee787; --patch: #ffa657; } }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0 0 .5rem; } h2 { margin: 2.5rem 0 .5rem; } h4 { margin: 1rem 0 .25rem; }
p { margin: .4rem 0; } a { color: var(--get); }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
code { background: var(--panel); border-radius: 4px; padding: .1em .3em; overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow: auto; }
pre code { padding: 0; background: none; overflow-wrap: normal; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; } summary span { color: var(--soft); }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--get); outline-offset: 2px; }
details > div { padding: 0 .75rem .75rem; }
.method { display: inline-block; min-width: 4.2em; font-weight: 700; }
.GET, .HEAD { color: var(--get); } .POST { color: var(--post); } .PATCH { color: var(--patch); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid var(--line); }
td p { margin: 0; } td:first-child code { white-space: nowrap; } td:last-child { min-width: 14rem; }
th { color: var(--soft); font-weight: 600; } .need { color: var(--patch); }
"""

#: What the page's policy names, so that no other style applies.
STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_CODE: Final = re.compile(r"`([^`]+)`")
_METHODS: Final = ("get", "post", "patch", "put", "delete")


def page(document: Schema, *, root: str = "") -> bytes:
    """The whole page. *document* is ours; all the same nothing of it is taken for HTML."""
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        _text(info["description"]),
        f'<p>For programs: <a href="{escape(root)}/openapi.json">openapi.json</a></p>',
    ]
    for tag in document["tags"]:
        operations = list(_operations(document, tag["name"]))
        if operations:
            parts.append(f'<h2 id="{escape(tag["name"])}">{escape(tag["name"].title())}</h2>')
            parts.append(_text(tag["description"]))
            parts += [_operation(document, *operation) for operation in operations]
    parts.append('<h2 id="objects">Objects</h2>')
    for name, schema in document["components"]["schemas"].items():
        parts.append(f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><div>')
        parts.append(f"{_text(schema.get('description', ''))}{_fields(schema)}</div></details>")
    body = "\n".join(parts)
    title = escape(info["title"])
    html = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: HTTP interface</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
    return html.encode()


def _operations(document: Schema, tag: str) -> Iterable[tuple[str, str, Schema]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item and tag in item[method]["tags"]:
                yield path, method.upper(), item[method]


def _operation(document: Schema, path: str, method: str, said: Schema) -> str:
    parts = [
        f'<details id="{escape(said["operationId"])}"><summary><code><span class="method {method}">{method}</span> '
        f"{escape(path)}</code> <span>{escape(said['summary'])}</span></summary><div>",
        _text(said.get("description", "")),
    ]
    parameters = said.get("parameters", [])
    if parameters:
        parts.append("<h4>Parameters</h4>")
        parts.append(
            _table(
                ("Name", "In", "Type", ""),
                (
                    (
                        _name(one["name"], one["required"]),
                        escape(one["in"]),
                        _type(one["schema"]),
                        _text(one["description"]),
                    )
                    for one in parameters
                ),
            )
        )
    if "requestBody" in said:
        parts.append("<h4>Body</h4>")
        for media, content in said["requestBody"]["content"].items():
            parts.append(f"<p><code>{escape(media)}</code></p>{_fields(_resolved(document, content['schema']))}")
            if "example" in content:
                parts.append(_example(content["example"]))
    parts.append("<h4>Answers</h4>")
    rows = (
        (f"<code>{status}</code>", _text(reply["description"]), _content(reply))
        for status, reply in said["responses"].items()
    )
    parts.append(_table(("Status", "", "Body"), rows))
    return "".join([*parts, "</div></details>"])


def _content(reply: Schema) -> str:
    return "<br>".join(
        f"<code>{escape(media)}</code> {_type(content['schema'])}"
        for media, content in reply.get("content", {}).items()
    )


def _fields(schema: Schema) -> str:
    """An object's fields as a table; of anything else its type."""
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>" if schema else ""
    required = schema.get("required", ())
    rows = (
        (_name(name, name in required), _type(of), _text(of.get("description", "")))
        for name, of in schema["properties"].items()
    )
    return _table(("Field", "Type", ""), rows)


def _name(name: str, required: bool) -> str:
    return f"<code>{escape(name)}</code>{' <span class=need>required</span>' if required else ''}"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    kind = schema.get("type", "any JSON")
    if isinstance(kind, list):
        return escape(" or ".join(kind))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and "properties" in schema:
        fields = (f"<code>{escape(name)}</code>: {_type(of)}" for name, of in schema["properties"].items())
        return f"{{{', '.join(fields)}}}"
    bounds = _bounds(schema)
    return escape(f"{schema.get('format', kind)}{bounds}")


def _bounds(schema: Mapping[str, Any]) -> str:
    for least, most, what in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        if least in schema and most in schema:
            return f" ({schema[least]} to {schema[most]}{what})"
        if most in schema:
            return f" (up to {schema[most]}{what})"
    return ""


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _example(example: Any) -> str:
    return f"<pre><code>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</code></pre>"


def _text(text: str) -> str:
    """Paragraphs, with `code` in them."""
    paragraphs = (_CODE.sub(r"<code>\1</code>", escape(part)) for part in text.split("\n\n") if part)
    return "".join(f"<p>{part}</p>" for part in paragraphs)


def _resolved(document: Schema, schema: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
