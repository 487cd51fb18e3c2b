#!/usr/bin/env python3
"""A menu by telephone: 1 for opening hours, 2 for a person, * to hear it again."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

AGENT = os.environ.get("AGENT", "+15550199")

MENU = """<Response>
  <Gather numDigits="1" timeout="5" action="/choice">
    <Say>Welcome. For our opening hours, press 1. To talk to a person, press 2.</Say>
  </Gather>
  <Say>We did not hear a key. Goodbye.</Say>
</Response>"""


def choice(digits: str) -> str:
    """What follows a key."""
    if digits == "1":
        return (
            "<Response><Say>We are open from 9 to 5, Monday to Friday.</Say>"
            "<Redirect>/voice</Redirect></Response>"
        )
    if digits == "2":
        return (
            f'<Response><Dial timeout="20" action="/dialled">{escape(AGENT)}</Dial></Response>'
        )
    if digits == "*":
        return "<Response><Redirect>/voice</Redirect></Response>"
    return "<Response><Say>That is not on the menu.</Say><Redirect>/voice</Redirect></Response>"


def dialled(status: str) -> str:
    """What follows the call to a person."""
    if status == "completed":
        return "<Response><Hangup/></Response>"
    return "<Response><Say>Nobody is free. Please call again later.</Say></Response>"


def answer(path: str, form: dict[str, str]) -> str | None:
    """The document for a request, or nothing where there is none."""
    match path:
        case "/voice":
            return MENU
        case "/choice":
            return choice(form.get("Digits", ""))
        case "/dialled":
            return dialled(form.get("DialCallStatus", ""))
    return None


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        document = answer(self.path.split("?")[0], form)
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "text/xml")
        octets = (document or "").encode()
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"the menu is at http://127.0.0.1:{port}/voice")
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
