import threading
import time
import unittest
import urllib.request
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from urllib.parse import urlencode

import campaign
from twilio.base.exceptions import TwilioRestException


class Node:
    """Stands for the SDK's client: each call is told of by a thread of its own."""

    def __init__(self, ends: dict[str, list[tuple[str, dict]]]) -> None:
        self.ends = ends
        self.begun: list[float] = []
        self.calls = self

    def create(self, *, to: str, url: str, status_callback: str, **more: object) -> SimpleNamespace:
        if to not in self.ends:
            raise TwilioRestException(400, "/Calls", "no such number", 21211)
        sid = f"CA{len(self.begun)}"
        self.begun.append(time.monotonic())
        urls = {"script": url, "key": url.replace("script", "key"), "status": status_callback}

        def tell() -> None:
            for path, form in self.ends[to]:
                body = urlencode({"CallSid": sid, **form}).encode()
                urllib.request.urlopen(urls[path], body, timeout=5).close()

        threading.Thread(target=tell).start()
        return SimpleNamespace(sid=sid)


class Campaign(unittest.TestCase):
    def test_what_is_told_late_does_not_undo_the_end(self) -> None:
        calls = campaign.Campaign(["1"])
        calls.by_sid["CA0"] = calls.rows[0]
        for status in ["ringing", "completed", "in-progress"]:
            calls.told("/status", {"CallSid": "CA0", "CallStatus": status})
        self.assertEqual(calls.rows[0].status, "completed")

    def test_calls_are_begun_at_a_rate_and_told_of(self) -> None:
        done = ("status", {"CallStatus": "completed", "CallDuration": "7"})
        node = Node(
            {
                "1": [("script", {}), ("key", {"Digits": "1"}), done],
                "2": [("script", {}), ("key", {"Digits": "2"}), done],
                "3": [("script", {}), done],
                "4": [("status", {"CallStatus": "busy"})],
            }
        )
        calls = campaign.Campaign(["1", "2", "3", "4", "5"])
        server = campaign.serve(calls, 0)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        start = time.monotonic()
        calls.run(node, "9", f"http://127.0.0.1:{server.server_port}", 20, 10)
        results = [row.result for row in calls.rows]
        wanted = ["confirmed", "cancelled", "no answer by key", "busy", "refused: no such number"]
        self.assertEqual(results, wanted)
        self.assertGreaterEqual(node.begun[3] - start, 0.14)
        table = calls.table().splitlines()
        self.assertEqual(table[0], "1     7 s  confirmed")
        self.assertIn("5 calls: 1 busy, 1 cancelled", table[-1])

    def test_the_script_asks_for_a_key(self) -> None:
        gather = ET.fromstring(campaign.Campaign([], "a < b").script()).find("Gather")
        self.assertEqual((gather.get("action"), gather.find("Say").text), ("/key", "a < b"))

    def test_what_is_not_there_is_nothing(self) -> None:
        self.assertIsNone(campaign.Campaign([]).told("/else", {}))


if __name__ == "__main__":
    unittest.main()
