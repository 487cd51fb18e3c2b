"""Twilio's own library for Python, against the address, account and token that it is started with."""

import sys
from datetime import date, datetime, timezone

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

base, account, token = sys.argv[1:4]


def client(*credentials, **more):
    made = Client(*credentials, **more)
    made.api.base_url = base
    return made


def refused(status, code, what):
    try:
        what()
    except TwilioRestException as error:
        assert (error.status, error.code) == (status, code), error
        assert error.msg, error
        return
    raise AssertionError(f"not refused with {status} and {code}")


twilio = client(account, token)
own = twilio.api.accounts(account).fetch()
assert (own.sid, own.status, own.friendly_name) == (account, "active", "Acme")
assert [one.sid for one in twilio.api.accounts.list()] == [account]

# Over pages, as the library follows them.
calls = twilio.calls.list(page_size=3)
assert len(calls) == 8, calls
assert len({call.sid for call in calls}) == 8
assert len(twilio.calls.list(limit=4, page_size=2)) == 4
call = calls[-1]
assert call.start_time == datetime(2025, 11, 21, 4, 40, 10, tzinfo=timezone.utc), call.start_time
assert (call.duration, call.direction, call.price) == ("20", "inbound", None)
assert len(twilio.calls.list(start_time=date(2025, 11, 21))) == 7
assert twilio.calls.list(start_time_after=datetime(2025, 11, 22)) == []
assert len(twilio.calls.list(to="+15550003", status="completed")) == 1
# Whom a document has dialled.
(dialled,) = twilio.calls.list(parent_call_sid=call.sid)
assert (dialled.direction, dialled.parent_call_sid) == ("outbound-dial", call.sid)
assert twilio.calls(dialled.sid).fetch().to == "+15559999"
assert twilio.calls(call.sid).fetch().to == "+15550000"
refused(404, 20404, twilio.calls("CA" + "f" * 32).fetch)

made = twilio.calls.create(
    to="+15550100",
    from_="client:alice",
    url="https://app.test/voice",
    status_callback="https://app.test/status",
    status_callback_event=["initiated", "answered"],
    record=True,
    recording_channels="dual",
    recording_status_callback="https://app.test/recorded",
    timeout=20,
)
assert (made.status, made.queue_time, made.direction) == ("queued", "40", "outbound-api")
assert twilio.calls(made.sid).fetch().sid == made.sid
assert twilio.calls(made.sid).update(twiml="<Response><Hangup/></Response>").sid == made.sid
assert twilio.calls(made.sid).update(status="completed").sid == made.sid
limited = twilio.calls(made.sid).update(time_limit=60, status_callback="https://app.test/other")
assert limited.sid == made.sid
refused(400, 21220, lambda: twilio.calls(call.sid).update(twiml="<Response/>"))
refused(400, 21220, lambda: twilio.calls(call.sid).streams.create(url="wss://app.test/"))
refused(400, 21220, lambda: twilio.calls(call.sid).recordings.create())
refused(400, 21211, lambda: twilio.calls.create(to="nobody", from_="100", url="https://app.test/"))
refused(400, 21205, lambda: twilio.calls.create(to="100", from_="101"))

stream = twilio.calls(made.sid).streams.create(
    url="wss://app.test/", name="one", track="both_tracks", parameter1_name="a", parameter1_value="b"
)
assert (stream.status, stream.name) == ("in-progress", "one")
assert twilio.calls(made.sid).streams("one").update(status="stopped").status == "stopped"

assert len(twilio.recordings.list(page_size=2)) == 7
recording = twilio.calls(call.sid).recordings.list()[0]
assert (recording.channels, recording.duration, recording.source) == (2, "2", "RecordVerb")
assert twilio.recordings(recording.sid).fetch().call_sid == call.sid
assert twilio.recordings(recording.sid).delete()
refused(404, 20404, twilio.recordings(recording.sid).fetch)
begun = twilio.calls(made.sid).recordings.create(recording_channels="dual")
assert begun.status == "in-progress"
current = twilio.calls(made.sid).recordings("Twilio.CURRENT")
paused = current.update(status="paused", pause_behavior="skip")
assert (paused.sid, paused.status) == (begun.sid, "paused")
assert current.update(status="in-progress").status == "in-progress"
assert twilio.calls(made.sid).recordings(begun.sid).update(status="stopped").status == "stopped"
refused(429, 20429, lambda: twilio.calls.create(to="+15550429", from_="100", url="https://app.test/"))

numbers = twilio.incoming_phone_numbers.list()
assert [(one.phone_number, one.voice_url) for one in numbers] == [("+15550111", "https://app.test/")]
number = twilio.incoming_phone_numbers(numbers[0].sid)
assert number.fetch().capabilities["voice"]
assert number.update(voice_url="https://app.test/new").voice_url == "https://app.test/new"
assert number.delete()
refused(
    400,
    21422,
    lambda: twilio.incoming_phone_numbers.create(phone_number="+15550199", voice_url="https://app.test/"),
)

application = twilio.applications.create(friendly_name="python", voice_url="https://app.test/")
assert application.update(voice_method="GET").voice_method == "GET"
assert [one.sid for one in twilio.applications.list(friendly_name="python")] == [application.sid]
assert application.delete()

key = twilio.new_keys.create(friendly_name="python")
with_key = client(key.sid, key.secret, account)
assert with_key.calls(call.sid).fetch().sid == call.sid
assert key.sid in [one.sid for one in twilio.keys.list()]
assert twilio.keys(key.sid).delete()
refused(401, 20003, with_key.calls(call.sid).fetch)
refused(401, 20003, client(account, "wrong").calls(call.sid).fetch)
assert len(twilio.messages.list(page_size=3)) == 7
message = twilio.messages.list(to="+15550002")[0]
assert (message.status, message.error_code, message.direction) == ("undelivered", 30005, "outbound-reply")
assert len(twilio.messages.list(date_sent=date(2025, 11, 21))) == 7
assert twilio.messages(message.sid).fetch().body == "Hello"
assert twilio.messages(message.sid).update(body="").body == ""
assert twilio.messages(message.sid).media.list() == []
assert twilio.messages(message.sid).delete()
refused(404, 20404, twilio.messages(message.sid).fetch)
sent = twilio.messages.create(
    to="+15550100", from_="+15550111", body="hello", status_callback="https://app.test/told"
)
assert (sent.status, sent.num_segments, sent.error_code) == ("queued", "2", None)
assert twilio.messages(sent.sid).fetch().sid == sent.sid
refused(400, 21602, lambda: twilio.messages.create(to="+15550100", from_="+15550111"))
assert twilio.calls(call.sid).delete()
print("python: done")
