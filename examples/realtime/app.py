#!/usr/bin/env python3
"""Calls are answered by a speech-to-speech model that speaks OpenAI's Realtime protocol."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys

from aiohttp import ClientError, ClientSession, WSMsgType, web

URL = os.environ.get("REALTIME_URL", "wss://api.openai.com/v1/realtime?model=gpt-realtime")
# "beta" for endpoints that speak the protocol as it was before gpt-realtime: g711_ulaw, response.audio.delta.
DIALECT = os.environ.get("REALTIME_DIALECT", "ga")
VOICE = os.environ.get("VOICE", "alloy")
INSTRUCTIONS = os.environ.get(
    "INSTRUCTIONS", "You answer the phone. Greet the caller first. Be friendly, and brief."
)
# What the model says is played in pieces of 100 ms of mu-law, each with a mark: so it is known what was heard.
PIECE = 800
# Octets of mu-law in a millisecond.
PER_MS = 8


def session() -> dict:
    """What the model is told first."""
    if DIALECT == "beta":
        return {
            "modalities": ["audio", "text"],
            "instructions": INSTRUCTIONS,
            "voice": VOICE,
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw",
            "turn_detection": {"type": "server_vad"},
        }
    return {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
            "output": {"format": {"type": "audio/pcmu"}, "voice": VOICE},
        },
    }


class Bridge:
    """One call: what either side says, and what each is told then, as (side, message)."""

    def __init__(self) -> None:
        self.item: str | None = None  # what the model says
        self.said = 0  # milliseconds of it that were sent to the call
        self.heard = 0  # and that the caller has heard
        self.broken: str | None = None  # an item that the caller has broken into
        self.is_over = False

    def begin(self) -> list[tuple[str, dict]]:
        update = {"type": "session.update", "session": session()}
        return [("model", update), ("model", {"type": "response.create"})]

    def from_call(self, message: dict) -> list[tuple[str, dict]]:
        match message["event"]:
            case "media":
                audio = message["media"]["payload"]
                return [("model", {"type": "input_audio_buffer.append", "audio": audio})]
            case "mark":
                item, _, heard = message["mark"]["name"].rpartition(":")
                if item == self.item:
                    self.heard = int(heard)
            case "dtmf":
                text = f"The caller pressed the key {message['dtmf']['digit']}."
                part = {"type": "input_text", "text": text}
                item = {"type": "message", "role": "user", "content": [part]}
                create = {"type": "conversation.item.create", "item": item}
                return [("model", create), ("model", {"type": "response.create"})]
            case "stop":
                self.is_over = True
        return []

    def from_model(self, message: dict) -> list[tuple[str, dict]]:
        match message["type"]:
            case "response.output_audio.delta" | "response.audio.delta":
                return self.say(message["item_id"], base64.b64decode(message["delta"]))
            case "input_audio_buffer.speech_started":
                return self.break_in()
            case "error":
                print(f"the model: {message['error'].get('message')}", flush=True)
        return []

    def say(self, item: str, octets: bytes) -> list[tuple[str, dict]]:
        if item == self.broken:
            return []
        if item != self.item:
            self.item, self.said, self.heard = item, 0, 0
        told = []
        for at in range(0, len(octets), PIECE):
            piece = octets[at : at + PIECE]
            self.said += len(piece) // PER_MS
            payload = base64.b64encode(piece).decode()
            told.append(("call", {"event": "media", "media": {"payload": payload}}))
            told.append(("call", {"event": "mark", "mark": {"name": f"{item}:{self.said}"}}))
        return told

    def break_in(self) -> list[tuple[str, dict]]:
        """The caller speaks: the bot is silent at once, and the model learns how much of it was heard."""
        if self.item is None or self.heard >= self.said:
            return []
        truncate = {
            "type": "conversation.item.truncate",
            "item_id": self.item,
            "content_index": 0,
            "audio_end_ms": self.heard,
        }
        self.broken, self.item = self.item, None
        return [("call", {"event": "clear"}), ("model", truncate)]


async def media(request: web.Request) -> web.WebSocketResponse:
    """A call's stream, and the model's."""
    if not is_signed(request, {}):
        raise web.HTTPForbidden(text="the signature is wrong")
    call = web.WebSocketResponse()
    await call.prepare(request)
    headers = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}
    if DIALECT == "beta":
        headers["OpenAI-Beta"] = "realtime=v1"
    try:
        async with ClientSession() as http, http.ws_connect(URL, headers=headers) as model:
            await join(call, model)
    except ClientError as error:
        # The document goes on, and says so.
        print(f"the model cannot be reached: {error}", flush=True)
    await call.close()
    return call


async def join(call, model) -> None:
    bridge, ends = Bridge(), {"call": call, "model": model}

    async def tell(told: list[tuple[str, dict]]) -> None:
        for side, message in told:
            await ends[side].send_json(message)

    async def pump(source, take) -> None:
        async for message in source:
            if message.type == WSMsgType.TEXT:
                await tell(take(json.loads(message.data)))
            if bridge.is_over:
                return

    await tell(bridge.begin())
    both = [pump(call, bridge.from_call), pump(model, bridge.from_model)]
    tasks = [asyncio.create_task(one) for one in both]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    for task in done:
        if not task.cancelled() and task.exception():
            print(f"a call ends: {task.exception()}", flush=True)


def is_signed(request: web.Request, form: dict[str, str]) -> bool:
    """Whether the node has asked (X-Twilio-Signature). Without AUTH_TOKEN everybody may."""
    token = os.environ.get("AUTH_TOKEN")
    if not token:
        return True
    base = os.environ.get("PUBLIC_URL", f"http://{request.host}")
    if request.path == "/media":
        base = base.replace("http", "ws", 1)
    text = base + request.path_qs + "".join(name + form[name] for name in sorted(form))
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    signature = request.headers.get("X-Twilio-Signature", "")
    return hmac.compare_digest(base64.b64encode(digest).decode(), signature)


async def voice(request: web.Request) -> web.Response:
    """The document for a call: it is connected with the model for as long as both want."""
    form = {name: str(value) for name, value in (await request.post()).items()}
    if not is_signed(request, form):
        raise web.HTTPForbidden(text="the signature is wrong")
    base = os.environ.get("PUBLIC_URL", f"http://{request.host}").replace("http", "ws", 1)
    document = f"""<Response>
  <Connect><Stream url="{base}/media"/></Connect>
  <Say>Our assistant is not there now. Please call again later.</Say>
</Response>"""
    return web.Response(text=document, content_type="text/xml")


def application() -> web.Application:
    app = web.Application()
    app.add_routes([web.post("/voice", voice), web.get("/media", media)])
    return app


if __name__ == "__main__":
    if URL.startswith("wss://api.openai.com") and "OPENAI_API_KEY" not in os.environ:
        sys.exit("OPENAI_API_KEY is not set: the model's key")
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"calls are answered at http://127.0.0.1:{port}/voice", flush=True)
    web.run_app(application(), host="127.0.0.1", port=port, print=None)
