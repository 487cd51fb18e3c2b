"""Whether Twilio's own library for Python accepts signatures: lines of JSON with token, url, params, signature."""

import json
import sys

from twilio.request_validator import RequestValidator

for line in sys.stdin:
    one = json.loads(line)
    validator = RequestValidator(one["token"])
    assert validator.validate(one["url"], one["params"], one["signature"]), line
    assert not validator.validate(one["url"] + "x", one["params"], one["signature"]), line
print("python: done")
