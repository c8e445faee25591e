"""A list of a customer's runs that keeps itself up to date, with htmx and no script of its own. On plain Starlette."""

import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from auth import Keyring, mint
from gateway import Publisher

GATEWAY = os.environ.get("RUNCAST_URL", "http://127.0.0.1:8787")  # as browsers reach it
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {GATEWAY}; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HERE = Path(__file__).parent
PAGE = (HERE / "page.html").read_text()
CONNECTION = """<div hx-sse:connect="{url}" hx-headers='{{"Authorization": "Bearer {token}"}}' hx-swap="none"></div>"""

keys = Keyring.from_environ(os.environ).keys_of(os.environ.get("RUNCAST_ENVIRONMENT", "default"))
publisher = Publisher()
workers = ThreadPoolExecutor(max_workers=3)  # stands in for your job queue


async def home(request):
    request.session.setdefault("customer", secrets.token_hex(8))  # here everybody is signed in as somebody new
    html = PAGE.replace("{customer}", escape(request.session["customer"]))
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})


async def connection(request):
    """What the page asks for at first, every ten minutes, and after errors: where its runs are, with a token."""
    customer = request.session.get("customer")  # your own session check goes here
    if customer is None:
        return HTMLResponse("You are signed out.", 401)
    token = mint({"read": {"tags": f"customer:{customer}"}}, keys, expires="15m", subject=customer)
    url = f"{GATEWAY}/v1/events?format=htmx&tags=customer:{customer}"
    return HTMLResponse(CONNECTION.format(url=escape(url), token=token), headers={"Cache-Control": "no-store"})


def start(request):
    customer = request.session.get("customer")
    if customer is None:
        return Response(status_code=401)
    run = publisher.create("export", tags=[f"customer:{customer}"])
    workers.submit(export, run.id, int(request.query_params.get("rows", 200)))
    return Response(run.id, 201)


def export(run_id, rows):
    with publisher.running("export", id=run_id) as run:
        for row in range(rows):
            run.progress(row, rows, "writing rows")
            time.sleep(0.1)  # the work
            if run.cancel_requested:
                run.cancel()
                return
        run.complete({"rows": rows})


app = Starlette(
    routes=[
        Route("/", home),
        Route("/connection", connection),
        Route("/exports", start, methods=["POST"]),
        Mount("/htmx", StaticFiles(directory=HERE / "node_modules/htmx.org/dist")),
        Mount("/style", StaticFiles(directory=HERE / "style")),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=os.environ.get("SESSION_SECRET") or secrets.token_hex(32))],
)
