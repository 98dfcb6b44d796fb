"""Calls one Python SDK as it is told: `python call.py PACKAGE URL KEY_ID KEY_SECRET`.

Reads lines `[method, parameters]`, in the API's names: `deleteUsersBatch`, `userIds`. Writes a line for each: what
the SDK returned, or null where it has no such method. Runs in the environment of the SDK.
"""

import importlib
import json
import re
import sys


def snake(name: str) -> str:
    """The name that a method or parameter has in the Python SDKs."""
    return re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), name)


package, url, key_id, key_secret = sys.argv[1:]
client = importlib.import_module(package).ManagementClient(key_id, key_secret, host=url)
for line in sys.stdin:
    method, parameters = json.loads(line)
    call = getattr(client, snake(method), None)
    answer = call and call(**{snake(name): value for name, value in parameters.items()})
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
