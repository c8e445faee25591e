"""Your backend decides who may see what: it signs a token, without asking the gateway."""

import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from auth import Keyring, mint

keys = Keyring.from_environ(os.environ).keys_of("default")


async def token(request):
    customer = "7"  # whoever is signed in to your application
    return JSONResponse({"token": mint({"read": {"tags": f"customer:{customer}"}}, keys, expires="1h")})


app = Starlette(routes=[Route("/token", token, methods=["POST"])])
