import asyncio
import base64
import unittest
import xml.etree.ElementTree as ET

import app
from aiohttp.test_utils import TestClient, TestServer


def heard(octets: bytes) -> dict:
    return {"event": "media", "media": {"payload": base64.b64encode(octets).decode()}}


class Echo(unittest.TestCase):
    def test_a_second_comes_back_with_a_mark(self) -> None:
        call = app.Echo()
        said = [bytes([number]) * 160 for number in range(50)]
        answers = [answer for frame in said for answer in call.take(heard(frame))]
        media, mark = answers
        self.assertEqual(base64.b64decode(media["media"]["payload"]), b"".join(said))
        self.assertEqual(mark, {"event": "mark", "mark": {"name": "second 1"}})

    def test_star_forgets_and_pound_ends(self) -> None:
        call = app.Echo()
        call.take(heard(b"x" * 7999))
        self.assertEqual(call.take({"event": "dtmf", "dtmf": {"digit": "*"}}), [{"event": "clear"}])
        self.assertEqual(call.take(heard(b"y")), [])
        self.assertFalse(call.is_over)
        self.assertEqual(call.take({"event": "dtmf", "dtmf": {"digit": "#"}}), [])
        self.assertTrue(call.is_over)


class Served(unittest.IsolatedAsyncioTestCase):
    async def test_a_call_is_streamed_to_where_the_document_says(self) -> None:
        async with TestClient(TestServer(app.application())) as client:
            answer = await client.post("/voice", data={"From": 'a"<&'})
            document = ET.fromstring(await answer.text())
            stream = document.find("Connect/Stream")
            self.assertEqual(stream.find("Parameter").get("value"), 'a"<&')
            url = stream.get("url")
            self.assertTrue(url.startswith("ws://127.0.0.1:") and url.endswith("/media"), url)
            async with client.ws_connect("/media") as socket:
                await socket.send_json(heard(b"z" * 8000))
                self.assertEqual((await socket.receive_json())["event"], "media")
                self.assertEqual((await socket.receive_json())["event"], "mark")
                await socket.send_json({"event": "dtmf", "dtmf": {"digit": "#"}})
                end = await asyncio.wait_for(socket.receive(), 5)
                self.assertEqual(socket.close_code, 1000, end)


if __name__ == "__main__":
    unittest.main()
