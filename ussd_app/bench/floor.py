"""The floor, what no such app can do without: it reads the form, makes one GET and one SET in Redis, shows a screen."""

import gc
import os
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ussd_app import redis_client

PATH = "/ussd/africastalking"
SCREEN = "CON Akwaaba Ama\n3 Send money\n5 My account"
DIALOGUE = "x" * 300  # as long as one of ours


def create() -> Starlette:
    """The app, under uvicorn as ours is."""
    redis = redis_client.connect(os.environ["REDIS_URL"])

    async def hop(request: Request) -> Response:
        key = "floor:" + dict(parse_qsl((await request.body()).decode()))["phoneNumber"]
        await redis.get(key)
        await redis.set(key, DIALOGUE, ex=300)
        return PlainTextResponse(SCREEN)

    gc.freeze()  # what only the imports need would make the floor's own collections longer
    return Starlette(routes=[Route(path, hop, methods=["POST"]) for path in (PATH, f"{PATH}/events")])
