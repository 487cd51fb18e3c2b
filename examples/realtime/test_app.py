import base64
import unittest
from unittest import mock

import app
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer


def delta(item: str, octets: bytes, kind: str = "response.output_audio.delta") -> dict:
    return {"type": kind, "item_id": item, "delta": base64.b64encode(octets).decode()}


def mark(name: str) -> dict:
    return {"event": "mark", "mark": {"name": name}}


class Bridge(unittest.TestCase):
    def test_the_session_is_of_mu_law_both_ways(self) -> None:
        update, create = [message for _, message in app.Bridge().begin()]
        audio = update["session"]["audio"]
        self.assertEqual(audio["input"]["format"], {"type": "audio/pcmu"})
        self.assertEqual(audio["output"]["format"], {"type": "audio/pcmu"})
        self.assertEqual(create, {"type": "response.create"})
        with mock.patch.object(app, "DIALECT", "beta"):
            session = app.session()
        formats = session["input_audio_format"], session["output_audio_format"]
        self.assertEqual(formats, ("g711_ulaw", "g711_ulaw"))

    def test_what_the_caller_says_goes_on(self) -> None:
        told = app.Bridge().from_call({"event": "media", "media": {"payload": "AAAA"}})
        append = {"type": "input_audio_buffer.append", "audio": "AAAA"}
        self.assertEqual(told, [("model", append)])

    def test_what_the_model_says_is_played_in_pieces(self) -> None:
        for kind in ["response.output_audio.delta", "response.audio.delta"]:
            told = app.Bridge().from_model(delta("i", b"x" * 1000, kind))
            self.assertEqual({side for side, _ in told}, {"call"})
            messages = [message for _, message in told]
            audio = [one["media"]["payload"] for one in messages if one["event"] == "media"]
            self.assertEqual(b"".join(map(base64.b64decode, audio)), b"x" * 1000)
            self.assertEqual([messages[1], messages[3]], [mark("i:100"), mark("i:125")])

    def test_who_breaks_in_is_not_spoken_over(self) -> None:
        bridge = app.Bridge()
        bridge.from_model(delta("i", b"x" * 8000))
        bridge.from_call(mark("i:100"))
        bridge.from_call(mark("i:200"))
        clear, truncate = bridge.from_model({"type": "input_audio_buffer.speech_started"})
        self.assertEqual(clear, ("call", {"event": "clear"}))
        wanted = {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 0,
            "audio_end_ms": 200,
        }
        self.assertEqual(truncate, ("model", wanted))
        # What is still on its way of it is heard by nobody, and the marks that come back are of nothing.
        self.assertEqual(bridge.from_model(delta("i", b"x" * 800)), [])
        bridge.from_call(mark("i:1000"))
        self.assertEqual(len(bridge.from_model(delta("j", b"y" * 800))), 2)
        self.assertEqual(bridge.heard, 0)

    def test_who_has_heard_everything_breaks_into_nothing(self) -> None:
        bridge = app.Bridge()
        started = {"type": "input_audio_buffer.speech_started"}
        self.assertEqual(bridge.from_model(started), [])
        bridge.from_model(delta("i", b"x" * 800))
        bridge.from_call(mark("i:100"))
        self.assertEqual(bridge.from_model(started), [])

    def test_keys_are_told_in_words(self) -> None:
        told = app.Bridge().from_call({"event": "dtmf", "dtmf": {"digit": "5"}})
        self.assertIn("key 5", told[0][1]["item"]["content"][0]["text"])


class Served(unittest.IsolatedAsyncioTestCase):
    async def test_who_is_not_the_node_is_refused(self) -> None:
        async with TestClient(TestServer(app.application())) as client:
            with mock.patch.dict("os.environ", {"AUTH_TOKEN": "12345"}):
                self.assertEqual((await client.post("/voice")).status, 403)
                # The vector that Twilio's own validators take.
                request = mock.Mock(path="/myapp.php", path_qs="/myapp.php?foo=1&bar=2")
                request.headers = {"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}
                form = {
                    "CallSid": "CA1234567890ABCDE",
                    "Caller": "+14158675309",
                    "Digits": "1234",
                    "From": "+14158675309",
                    "To": "+18005551212",
                }
                with mock.patch.dict("os.environ", {"PUBLIC_URL": "https://mycompany.com"}):
                    self.assertTrue(app.is_signed(request, form))
                    self.assertFalse(app.is_signed(request, {}))

    async def test_a_model_that_is_gone_ends_the_stream(self) -> None:
        async with TestClient(TestServer(app.application())) as client:
            with mock.patch.object(app, "URL", "ws://127.0.0.1:9/"):
                async with client.ws_connect("/media") as socket:
                    await socket.receive()
                    self.assertEqual(socket.close_code, 1000)

    async def test_both_sides_are_joined(self) -> None:
        heard = []

        async def model(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            heard.append(request.headers["Authorization"])
            async for message in socket:
                message = message.json()
                heard.append(message["type"])
                if message["type"] == "input_audio_buffer.append":
                    await socket.send_json(delta("i", b"z" * 800))
            return socket

        stand_in = web.Application()
        stand_in.add_routes([web.get("/realtime", model)])
        async with TestServer(stand_in) as server, TestClient(TestServer(app.application())) as client:
            url = str(server.make_url("/realtime")).replace("http", "ws", 1)
            key = {"OPENAI_API_KEY": "key"}
            with mock.patch.object(app, "URL", url), mock.patch.dict("os.environ", key):
                async with client.ws_connect("/media") as socket:
                    await socket.send_json({"event": "media", "media": {"payload": "AAAA"}})
                    self.assertEqual((await socket.receive_json())["event"], "media")
                    self.assertEqual(await socket.receive_json(), mark("i:100"))
        types = ["session.update", "response.create", "input_audio_buffer.append"]
        self.assertEqual(heard[:4], ["Bearer key", *types])


if __name__ == "__main__":
    unittest.main()
