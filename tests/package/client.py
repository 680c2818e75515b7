#!/usr/bin/env python3
"""client.py PORT: sends requests until its standard input ends, and prints how they went.

Four at a time, each on a connection of its own, and one that takes two seconds always under way. A
request fails if its connection is refused or reset, or its answer is not a whole 200. Prints
"ready" once each kind has been answered, and in the end "SENT FAILED", with each failure before it.
"""

import http.client
import sys
import threading

port = int(sys.argv[1])
ending = threading.Event()
lock = threading.Lock()
sent, failures = 0, []
answered = [threading.Event() for _ in range(5)]


def exchange(path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            return f"{path}: {answer.status} {body!r}"
        if path == "/slow" and body != b"." * 10:
            return f"{path}: cut off after {len(body)} of 10 bytes"
        return None
    except (OSError, http.client.HTTPException) as error:
        return f"{path}: {error!r}"
    finally:
        connection.close()


def send(path, first):
    global sent
    while not ending.is_set():
        failure = exchange(path)
        with lock:
            sent += 1
            if failure:
                failures.append(failure)
        first.set()


threads = [threading.Thread(target=send, args=("/slow" if n == 0 else "/", first)) for n, first in enumerate(answered)]
for thread in threads:
    thread.start()
for first in answered:
    first.wait()
print("ready", flush=True)
sys.stdin.read()
ending.set()
for thread in threads:
    thread.join()
for failure in failures[:20]:
    print(failure)
print(sent, len(failures))
