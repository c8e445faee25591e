"""A page with a moving bar, in FastAPI: a job, a token endpoint, and a script tag."""

import os
import secrets
import time
from html import escape
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from auth import Keyring, mint
from gateway import Publisher

GATEWAY = os.environ.get("RUNCAST_URL", "http://127.0.0.1:8787")  # as browsers reach it
SOCKETS = GATEWAY.replace("http", "ws", 1)
POLICY = (
    f"default-src 'none'; script-src 'self' {GATEWAY}; connect-src 'self' {GATEWAY} {SOCKETS}; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
  <title>Export</title>
  <link rel="icon" href="data:,">
  <script src="{gateway}/run-status.js" defer></script>
  {bar}
  <form method="post" action="/exports"><button>Export</button></form>
</html>
"""
BAR = '<run-status run="{run}" token-url="/token">It has begun.</run-status>'

keys = Keyring.from_environ(os.environ).keys_of(os.environ.get("RUNCAST_ENVIRONMENT", "default"))
publisher = Publisher()
app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ.get("SESSION_SECRET") or secrets.token_hex(32))


def signed_in(request: Request) -> str:
    """Your own session check goes here. Who is not signed in is answered 401, and the bar says so."""
    if "customer" not in request.session:
        raise HTTPException(401)
    return request.session["customer"]


Customer = Annotated[str, Depends(signed_in)]


@app.post("/token")
def token(customer: Customer) -> dict[str, str]:
    """What the element asks for, now and whenever its token is about to end: it sees this customer's runs alone."""
    return {"token": mint({"read": {"tags": f"customer:{customer}"}}, keys, expires="15m", subject=customer)}


@app.post("/exports")
def start(customer: Customer, background: BackgroundTasks, rows: int = 200) -> RedirectResponse:
    run = publisher.create("export", tags=[f"customer:{customer}"])
    background.add_task(export, run.id, rows)
    return RedirectResponse(f"/exports/{run.id}", 303)


def export(run_id: str, rows: int) -> None:
    with publisher.running("export", id=run_id) as run:
        for row in range(rows):
            run.progress(row, rows, "writing rows")
            time.sleep(0.1)  # the work
            if run.cancel_requested:
                run.cancel()
                return
        run.complete({"rows": rows})


@app.get("/exports/{run_id}")
def show(run_id: str) -> HTMLResponse:
    return page(run_id)


@app.get("/")
def home(request: Request) -> HTMLResponse:
    request.session.setdefault("customer", secrets.token_hex(8))  # here everybody is signed in as somebody new
    return page("")


def page(run_id: str) -> HTMLResponse:
    html = PAGE.format(gateway=GATEWAY, bar=BAR.format(run=escape(run_id)) if run_id else "")
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})
