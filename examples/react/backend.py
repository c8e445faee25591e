"""The page's own backend: it says who may see what, starts jobs, and serves the built page."""

import os
import secrets
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from worker import order

from auth import Keyring, mint

GATEWAY = os.environ.get("RUNCAST_URL", "http://127.0.0.1:8787")
LIFETIME_SECONDS = 15 * 60

keys = Keyring.from_environ(os.environ).keys_of(os.environ.get("RUNCAST_ENVIRONMENT", "default"))
customer = "7"  # whoever is signed in to your application
orders: dict[str, list[str]] = {}  # the runs of each batch; in your application a table


async def session(request):
    """What the page needs for the hooks: where the gateway is, and a token for this customer's runs alone."""
    expires = time.time() + LIFETIME_SECONDS
    recent = list(orders)[-20:]
    may = {
        "read": {"tags": f"customer:{customer}", "batch": recent},
        "write": {"inputStreams": [run for batch in recent for run in orders[batch]]},
    }
    token = mint(may, keys, expires=expires)
    return JSONResponse({"baseURL": GATEWAY, "accessToken": token, "expiresAt": expires * 1000})


async def reports(request):
    """Have three reports written."""
    batch = f"batch_{secrets.token_hex(8)}"
    orders[batch] = order(customer, batch, ["Sales", "Returns", "Stock"])
    return JSONResponse({"batch": batch, "runs": orders[batch]}, status_code=201)


page = StaticFiles(directory=Path(__file__).with_name("dist"), html=True)
app = Starlette(
    routes=[Route("/api/session", session), Route("/api/reports", reports, methods=["POST"]), Mount("/", page)]
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
