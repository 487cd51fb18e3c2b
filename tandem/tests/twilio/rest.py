"""Twilio's own library for Python against a whole node: it makes a call, streams it and records it, and calls one off.

The node's address, an account that begins one call a second, and its token are what it is started with. A phone answers
the first call.
"""

import base64
import hashlib
import json
import socket
import struct
import sys
import threading
import time
import urllib.request

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

base, account, token = sys.argv[1:4]
twilio = Client(account, token)
twilio.api.base_url = base


def until(what, is_so):
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Server(threading.Thread):
    """A WebSocket server for one stream: what it is told, one message after the other."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/stream"
        self.told = []
        self.start()

    def of(self, event):
        return [message for message in list(self.told) if message["event"] == event]

    def run(self):
        stream = self.listener.accept()[0].makefile("rwb")
        key = None
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b": ")
            key = value if name.lower() == b"sec-websocket-key" else key
        accept = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        stream.write(head + b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n")
        stream.flush()
        while (frame := self.frame(stream)) is not None:
            self.told.append(json.loads(frame))

    @staticmethod
    def frame(stream):
        """A text, unmasked; none where the other side closes."""
        head = stream.read(2)
        if len(head) < 2 or head[0] & 15 == 8:
            return None
        length = head[1] & 127
        if length > 125:
            length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
        mask = stream.read(4)
        return bytes(octet ^ mask[at % 4] for at, octet in enumerate(stream.read(length)))


wait = '<Response><Pause length="60"/></Response>'
# What nobody says is part of it here.
record = {"record": True, "recording_channels": "dual", "trim": "do-not-trim"}
made = twilio.calls.create(to="100", from_="200", twiml=wait, **record)
# One that nobody takes, so that the next one waits for two seconds, however slow this machine is.
twilio.calls.create(to="999", from_="200", twiml=wait)
queued = twilio.calls.create(to="100", from_="200", twiml=wait)
assert (made.queue_time, made.status) == ("0", "queued")
assert 0 < int(queued.queue_time) <= 3000, queued.queue_time
assert twilio.calls(queued.sid).update(status="canceled").sid == queued.sid
call = twilio.calls(made.sid)
until("it is answered", lambda: call.fetch().status == "in-progress")

server = Server()
stream = call.streams.create(
    url=server.url, name="mine", track="both_tracks", parameter1_name="a", parameter1_value="b"
)
assert (stream.status, stream.name) == ("in-progress", "mine")
until("it is streamed", lambda: len(server.of("media")) > 20)
(start,) = (message["start"] for message in server.of("start"))
assert (start["callSid"], start["streamSid"]) == (made.sid, stream.sid)
assert start["tracks"] == ["inbound", "outbound"] and start["customParameters"] == {"a": "b"}
assert {message["media"]["track"] for message in server.of("media")} == {"inbound", "outbound"}
try:
    call.streams.create(url=server.url, name="mine")
    raise AssertionError("a name is a stream's own")
except TwilioRestException as error:
    assert error.status == 400, error
assert call.streams("mine").update(status="stopped").status == "stopped"
until("the server is told", lambda: server.of("stop"))

begun = call.recordings.create(recording_channels="dual", recording_track="both")
assert (begun.status, begun.source) == ("in-progress", "StartCallRecordingAPI")
time.sleep(0.8)
assert call.recordings("Twilio.CURRENT").update(status="paused").sid == begun.sid
assert call.recordings(begun.sid).update(status="in-progress").status == "in-progress"
assert call.recordings(begun.sid).update(status="stopped").sid == begun.sid
recording = twilio.recordings(begun.sid)
until("it is written", lambda: recording.fetch().status == "completed")
# The call goes on, and it can be heard.
request = urllib.request.Request(f"{base}/2010-04-01/Accounts/{account}/Recordings/{begun.sid}.wav")
request.add_header("Authorization", "Basic " + base64.b64encode(f"{account}:{token}".encode()).decode())
with urllib.request.urlopen(request) as answer:
    sound = answer.read()
channels, rate, octets = struct.unpack_from("<HII", sound, 22)
assert (sound[:4], sound[8:16], channels, rate) == (b"RIFF", b"WAVEfmt ", 2, 8000)
assert len(sound) > octets // 2, len(sound)
assert recording.delete()
assert [one.source for one in call.recordings.list()] == ["OutboundAPI"]

assert call.update(time_limit=600).sid == made.sid
until("it is called off", lambda: twilio.calls(queued.sid).fetch().status == "canceled")
assert twilio.calls(queued.sid).fetch().start_time is None
assert call.update(status="completed").sid == made.sid
until("it is over", lambda: call.fetch().status == "completed")
until("all of it is written", lambda: call.recordings.list()[0].status == "completed")
assert int(call.recordings.list()[0].duration) > 1
print("python: done")
