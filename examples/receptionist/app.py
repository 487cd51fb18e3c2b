#!/usr/bin/env python3
"""A receptionist: asks what a call is about, decides who takes it, and tells them before they do."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.sax.saxutils import escape, quoteattr

SALES = os.environ.get("SALES", "+15550191")
ENGINEER = os.environ.get("ENGINEER", "+15550192")
OFFICE = os.environ.get("OFFICE", "+15550193")


def ask(question: str, action: str) -> str:
    """One key is asked for, twice."""
    gather = (
        f"<Gather numDigits=\"1\" timeout=\"6\" action={quoteattr(action)}>"
        f"<Say>{escape(question)}</Say></Gather>"
    )
    return f"<Response>{gather}{gather}<Say>We did not hear a key. Goodbye.</Say></Response>"


def welcome() -> str:
    return ask(
        "Welcome. Is it about an order, press 1. About a fault, press 2. Anything else, press 3.",
        "/reason",
    )


def transfer(caller: str, person: str, why: str) -> str:
    """Calls a person, who hears first who calls and why."""
    context = urlencode({"who": caller, "why": why})
    return (
        "<Response><Say>I will put you through.</Say>"
        f"<Dial timeout=\"20\" action={quoteattr('/dialled?' + context)}>"
        f"<Number url={quoteattr('/whisper?' + context)}>{escape(person)}</Number>"
        "</Dial></Response>"
    )


def reason(caller: str, key: str) -> str:
    match key:
        case "1":
            return transfer(caller, SALES, "an order")
        case "2":
            return ask("Does it keep you from working? Press 1 for yes, 2 for no.", "/urgent")
        case "3":
            return transfer(caller, OFFICE, "something else")
    return "<Response><Redirect>/voice</Redirect></Response>"


def urgent(caller: str, key: str) -> str:
    if key == "1":
        return transfer(caller, ENGINEER, "an urgent fault")
    return transfer(caller, OFFICE, "a fault that can wait")


def whisper(who: str, why: str) -> str:
    """What the person hears, and the caller does not. Who does not press 1 is no person, but a mailbox."""
    who = " ".join(who.removeprefix("+"))
    return (
        '<Response><Gather numDigits="1" timeout="6" action="/taken">'
        f"<Say>{escape(why)}. From {escape(who)}. Press 1 to take the call.</Say></Gather>"
        "<Hangup/></Response>"
    )


def taken(key: str) -> str:
    """An empty document: the two are joined."""
    return "<Response/>" if key == "1" else "<Response><Hangup/></Response>"


def dialled(status: str, bridged: str, why: str) -> str:
    if status == "completed" and bridged != "false":
        return "<Response><Hangup/></Response>"
    print(f"nobody took a call about {why}", flush=True)
    return "<Response><Say>Nobody is free now. We will call you back.</Say></Response>"


def answer(path: str, context: dict[str, str], form: dict[str, str]) -> str | None:
    """The document for a request, or nothing where there is none."""
    caller, key = form.get("From", ""), form.get("Digits", "")
    match path:
        case "/voice":
            return welcome()
        case "/reason":
            return reason(caller, key)
        case "/urgent":
            return urgent(caller, key)
        case "/whisper":
            return whisper(context.get("who", ""), context.get("why", ""))
        case "/taken":
            return taken(key)
        case "/dialled":
            status, bridged = form.get("DialCallStatus", ""), form.get("DialBridged", "")
            return dialled(status, bridged, context.get("why", ""))
    return None


def pairs(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        url = urlsplit(self.path)
        document = answer(url.path, pairs(url.query), pairs(body))
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "text/xml")
        octets = (document or "").encode()
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"the receptionist is at http://127.0.0.1:{port}/voice", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
