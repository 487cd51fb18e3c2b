import unittest
import xml.etree.ElementTree as ET
from urllib.parse import urlsplit

import app


class Triage(unittest.TestCase):
    def post(self, url: str, **form: str) -> ET.Element:
        parts = urlsplit(url)
        document = app.answer(parts.path, app.pairs(parts.query), {"From": "+15550100", **form})
        self.assertIsNotNone(document, url)
        return ET.fromstring(document)

    def person(self, *keys: str) -> ET.Element:
        """Whom these keys lead to."""
        document = self.post("/voice")
        for key in keys:
            document = self.post(document.find("Gather").get("action"), Digits=key)
        return document.find("Dial")

    def test_each_reason_leads_to_who_knows(self) -> None:
        for keys, person, why in [
            ("1", app.SALES, "an order"),
            ("21", app.ENGINEER, "an urgent fault"),
            ("22", app.OFFICE, "a fault that can wait"),
            ("3", app.OFFICE, "something else"),
        ]:
            number = self.person(*keys).find("Number")
            self.assertEqual(number.text, person)
            told = self.post(number.get("url")).find("Gather")
            self.assertIn(why, told.find("Say").text)
            self.assertIn("1 5 5 5 0 1 0 0", told.find("Say").text)
            self.assertEqual(len(self.post(told.get("action"), Digits="1")), 0)
            self.assertEqual(self.post(told.get("action"), Digits="2")[0].tag, "Hangup")

    def test_another_key_is_asked_again(self) -> None:
        self.assertEqual(self.post("/reason", Digits="9").find("Redirect").text, "/voice")

    def test_who_is_taken_by_nobody_is_told(self) -> None:
        action = self.person("1").get("action")
        for told in [
            {"DialCallStatus": "no-answer"},
            {"DialCallStatus": "completed", "DialBridged": "false"},
        ]:
            self.assertIn("Nobody is free", self.post(action, **told).find("Say").text)
        done = self.post(action, DialCallStatus="completed", DialBridged="true")
        self.assertEqual(done[0].tag, "Hangup")

    def test_what_is_not_there_is_nothing(self) -> None:
        self.assertIsNone(app.answer("/else", {}, {}))


if __name__ == "__main__":
    unittest.main()
