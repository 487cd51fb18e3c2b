import threading
import unittest
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from http.server import ThreadingHTTPServer

import app


class Menu(unittest.TestCase):
    def setUp(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), app.Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def post(self, path: str, form: str = "") -> ET.Element:
        url = f"http://127.0.0.1:{self.server.server_port}{path}"
        with urllib.request.urlopen(url, form.encode(), timeout=5) as response:
            self.assertEqual(response.headers["Content-Type"], "text/xml")
            return ET.fromstring(response.read())

    def test_the_menu_leads_to_its_choices(self) -> None:
        menu = self.post("/voice")
        gather = menu.find("Gather")
        self.assertEqual(gather.get("numDigits"), "1")
        hours = self.post(gather.get("action"), "CallSid=CA1&Digits=1")
        self.assertIn("9 to 5", hours.find("Say").text)
        self.assertEqual(hours.find("Redirect").text, "/voice")
        self.assertEqual(self.post("/choice", "Digits=*")[0].tag, "Redirect")
        self.assertIn("not on the menu", self.post("/choice", "Digits=9").find("Say").text)

    def test_a_person_is_called_and_may_not_answer(self) -> None:
        dial = self.post("/choice", "Digits=2").find("Dial")
        self.assertEqual(dial.text, app.AGENT)
        done = self.post(dial.get("action"), "DialCallStatus=completed")
        self.assertEqual(done[0].tag, "Hangup")
        missed = self.post(dial.get("action"), "DialCallStatus=no-answer")
        self.assertIn("Nobody is free", missed.find("Say").text)

    def test_what_is_not_there_is_404(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.post("/else")
        self.assertEqual(caught.exception.code, 404)
        caught.exception.close()


if __name__ == "__main__":
    unittest.main()
