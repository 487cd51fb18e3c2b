#!/usr/bin/env python3
"""A bot that says back what it hears, a second at a time: * makes it stop, # ends the call."""

import base64
import json
import sys
from xml.sax.saxutils import quoteattr

from aiohttp import WSMsgType, web

# A second of G.711.
SECOND = 8000


class Echo:
    """One call: messages of its stream in, messages to its stream out."""

    def __init__(self) -> None:
        self.heard = b""
        self.count = 0
        self.is_over = False

    def take(self, message: dict) -> list[dict]:
        match message["event"]:
            case "start":
                start = message["start"]
                print(f"{start['callSid']} begins, {start['customParameters'].get('caller')}")
            case "media":
                self.heard += base64.b64decode(message["media"]["payload"])
                if len(self.heard) >= SECOND:
                    return self.say()
            case "dtmf":
                return self.press(message["dtmf"]["digit"])
            case "mark":
                print(f"{message['mark']['name']} has been heard")
        return []

    def say(self) -> list[dict]:
        """What was heard, and a mark that comes back once it was played."""
        payload = base64.b64encode(self.heard).decode()
        self.heard = b""
        self.count += 1
        return [
            {"event": "media", "media": {"payload": payload}},
            {"event": "mark", "mark": {"name": f"second {self.count}"}},
        ]

    def press(self, key: str) -> list[dict]:
        if key == "#":
            self.is_over = True
        if key != "*":
            return []
        self.heard = b""
        return [{"event": "clear"}]


async def voice(request: web.Request) -> web.Response:
    """The document for a call: it is connected with the bot, and hung up once the bot is done."""
    scheme = "wss" if request.headers.get("X-Forwarded-Proto") == "https" else "ws"
    form = await request.post()
    caller = quoteattr(str(form.get("From", "")))
    document = f"""<Response>
  <Connect>
    <Stream url="{scheme}://{request.host}/media"><Parameter name="caller" value={caller}/></Stream>
  </Connect>
</Response>"""
    return web.Response(text=document, content_type="text/xml")


async def media(request: web.Request) -> web.WebSocketResponse:
    """A call's stream."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    call = Echo()
    async for message in socket:
        if message.type != WSMsgType.TEXT:
            continue
        for answer in call.take(json.loads(message.data)):
            await socket.send_json(answer)
        if call.is_over:
            break
    await socket.close()
    return socket


def application() -> web.Application:
    app = web.Application()
    app.add_routes([web.post("/voice", voice), web.get("/media", media)])
    return app


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"calls are answered at http://127.0.0.1:{port}/voice", flush=True)
    web.run_app(application(), host="127.0.0.1", port=port, print=None)
