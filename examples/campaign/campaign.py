#!/usr/bin/env python3
"""Calls a list of numbers, so many a second, asks each for a key, and shows what came of it."""

import argparse
import os
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

# How a call ends.
OVER = {"completed", "busy", "no-answer", "failed", "canceled"}
KEYS = {"1": "confirmed", "2": "cancelled"}
TEXT = "Your appointment is tomorrow at ten. To confirm it, press 1. To cancel it, press 2."


@dataclass
class Row:
    number: str
    status: str = "not called"
    key: str = ""
    seconds: str = ""

    @property
    def result(self) -> str:
        if self.status == "completed":
            return KEYS.get(self.key, "no answer by key")
        return self.status


class Campaign:
    """The calls, as the node tells of them."""

    def __init__(self, numbers: list[str], text: str = TEXT) -> None:
        self.rows = [Row(number) for number in numbers]
        self.text = text
        self.by_sid: dict[str, Row] = {}
        self.changed = threading.Condition()

    def run(self, client: Client, caller: str, url: str, rate: float, patience: float) -> None:
        """Starts the calls, one each 1/rate seconds, and waits until all are over."""
        start = time.monotonic()
        for count, row in enumerate(self.rows):
            time.sleep(max(0.0, start + count / rate - time.monotonic()))
            # A callback may be here before the answer that has the SID.
            with self.changed:
                self.start(client, row, caller, url)
        with self.changed:
            self.changed.wait_for(self.is_over, patience)

    def start(self, client: Client, row: Row, caller: str, url: str) -> None:
        try:
            call = client.calls.create(
                to=row.number,
                from_=caller,
                url=f"{url}/script",
                status_callback=f"{url}/status",
                status_callback_event=["initiated", "ringing", "answered", "completed"],
                timeout=20,
            )
        except TwilioRestException as error:
            row.status = f"refused: {error.msg}"
            return
        row.status = "queued"
        self.by_sid[call.sid] = row

    def is_over(self) -> bool:
        return all(row.status in OVER or row.status.startswith("refused") for row in self.rows)

    def told(self, path: str, form: dict[str, str]) -> str | None:
        """The answer to a webhook, or nothing where there is none."""
        with self.changed:
            row = self.by_sid.get(form.get("CallSid", ""))
            match path:
                case "/script":
                    return self.script()
                case "/key":
                    if row:
                        row.key = form.get("Digits", "")
                    return "<Response><Say>Thank you. Goodbye.</Say></Response>"
                case "/status":
                    # Callbacks may overtake each other, and none is news of a call that is over.
                    if row and row.status not in OVER:
                        row.status = form.get("CallStatus", "")
                        row.seconds = form.get("CallDuration", row.seconds)
                        self.changed.notify_all()
                    return "<Response/>"
        return None

    def script(self) -> str:
        return (
            '<Response><Gather numDigits="1" timeout="4" action="/key">'
            f"<Say>{escape(self.text)}</Say></Gather></Response>"
        )

    def table(self) -> str:
        """A line for each call, and how many had which result."""
        wide = max((len(row.number) for row in self.rows), default=0)
        lines = [f"{row.number:{wide}}  {row.seconds or '-':>4} s  {row.result}" for row in self.rows]
        results = [row.result for row in self.rows]
        counts = sorted((-results.count(result), result) for result in set(results))
        summary = ", ".join(f"{-count} {result}" for count, result in counts)
        return "\n".join([*lines, f"{len(self.rows)} calls: {summary}"])


def serve(campaign: Campaign, port: int) -> ThreadingHTTPServer:
    """Answers the node's webhooks."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            document = campaign.told(self.path, form)
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", "text/xml")
            octets = (document or "").encode()
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", help="a file with a number on each line; - is standard input")
    parser.add_argument("--from", dest="caller", required=True, help="the number that calls")
    parser.add_argument("--rate", type=float, default=1.0, help="calls begun in a second [1]")
    parser.add_argument("--node", default="http://127.0.0.1:8080", help="the node's REST API")
    parser.add_argument("--port", type=int, default=9000, help="of the webhooks [9000]")
    parser.add_argument("--url", help="by which the node reaches the webhooks [http://127.0.0.1:PORT]")
    parser.add_argument("--text", default=TEXT, help="what is said")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds after the last call [120]")
    args = parser.parse_args()
    try:
        account, token = os.environ["ACCOUNT_SID"], os.environ["AUTH_TOKEN"]
    except KeyError as missing:
        parser.error(f"{missing} is not set: the SID and the token of an account of the node")
    if args.rate <= 0:
        parser.error("--rate is more than 0")
    file = sys.stdin if args.numbers == "-" else open(args.numbers, encoding="utf-8")
    with file:
        numbers = [line.strip() for line in file if line.strip()]
    client = Client(account, token)
    client.api.base_url = args.node
    campaign = Campaign(numbers, args.text)
    server = serve(campaign, args.port)
    url = (args.url or f"http://127.0.0.1:{server.server_port}").rstrip("/")
    campaign.run(client, args.caller, url, args.rate, args.patience)
    server.shutdown()
    print(campaign.table())


if __name__ == "__main__":
    main()
