#!/usr/bin/env bash
# python-tds over a socket that the caller gives it (sock=), as Google's Cloud SQL
# connector for Python does: login_timeout=15 means 1.2 s. Its first try to log in gets
# 8 % of it and closes the socket; the second finds that closed, and the caller is told
# of a bad file descriptor, and of no timeout. Without sock it connects anew, and takes
# the time that it was given.
#
# The server accepts connections and needs longer than that to answer, as a busy one may.
#
# Seen with python-tds 1.17.1, CPython 3.11:
#   given a socket: after 1 s: OSError: [Errno 9] Bad file descriptor
#   by itself: after 15 s: TimeoutError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check python-tds==1.17.1
cat >see.py <<'PY'
import importlib.metadata
import platform
import socket
import time

import pytds

print("python-tds", importlib.metadata.version("python-tds"), "CPython", platform.python_version())
listener = socket.create_server(("127.0.0.1", 0))  # the system accepts; nobody answers
port = listener.getsockname()[1]


def see(what, **more):
    began = time.monotonic()
    try:
        pytds.connect("127.0.0.1", "db", "app", "secret", port=port, login_timeout=15, **more)
        raise SystemExit(f"{what}: it has logged in")
    except Exception as e:
        took = time.monotonic() - began
        print(f"{what}: after {took:.0f} s: {type(e).__name__}: {e}")
        return took, e


took, e = see("given a socket", sock=socket.create_connection(("127.0.0.1", port)))
if took > 5 or not isinstance(e, OSError) or e.errno != 9:
    raise SystemExit("that has changed")
took, e = see("by itself")
if took < 10:
    raise SystemExit("that has changed")
PY
venv/bin/python see.py 2>/dev/null
