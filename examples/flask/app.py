"""A page with a moving bar, in Flask: a job, a token endpoint for just its run, and a script tag."""

import os
import secrets
import threading
import time

from flask import Flask, abort, redirect, render_template_string, request, session, url_for

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
  <script src="{{ gateway }}/run-status.js" defer></script>
  {% if run %}
    <run-status run="{{ run }}" token-url="{{ url_for('token', run=run) }}">It has begun.</run-status>
  {% endif %}
  <form method="post" action="{{ url_for('start') }}"><button>Export</button></form>
</html>
"""

keys = Keyring.from_environ(os.environ).keys_of(os.environ.get("RUNCAST_ENVIRONMENT", "default"))
publisher = Publisher()
app = Flask(__name__)
app.secret_key = os.environ.get("SESSION_SECRET") or secrets.token_hex(32)
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' forms start nothing here


@app.post("/exports/<run>/token")
def token(run):
    """What the element asks for, now and whenever its token is about to end: it sees this run alone."""
    if run not in session.get("runs", []):  # your own check goes here: is it a run of whoever is signed in?
        abort(403)
    return {"token": mint({"read": {"runs": run}}, keys, expires="15m")}


@app.post("/exports")
def start():
    run = publisher.create("export")
    session["runs"] = [*session.get("runs", []), run.id][-20:]
    rows = request.args.get("rows", 200, int)
    threading.Thread(target=export, args=(run.id, rows), daemon=True).start()  # stands in for your job queue
    return redirect(url_for("show", run=run.id), 303)


def export(run_id, rows):
    with publisher.running("export", id=run_id) as run:
        for row in range(rows):
            run.progress(row, rows, "writing rows")
            time.sleep(0.1)  # the work
            if run.cancel_requested:
                run.cancel()
                return
        run.complete({"rows": rows})


@app.get("/")
@app.get("/exports/<run>")
def show(run=None):
    return render_template_string(PAGE, gateway=GATEWAY, run=run), {"Content-Security-Policy": POLICY}
