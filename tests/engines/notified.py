#!/usr/bin/env python3
"""Runs a command as a service manager would, with a NOTIFY_SOCKET, and prints what arrives there after its output.

usage: notified.py COMMAND [ARGUMENT...]
"""

import os
import socket
import subprocess
import sys
import tempfile


def main():
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        path = os.path.join(directory, "notify")
        server.bind(path)
        server.settimeout(0.5)
        status = subprocess.run(sys.argv[1:], env=dict(os.environ, NOTIFY_SOCKET=path)).returncode
        try:
            while True:
                print(server.recv(4096).decode(), flush=True)
        except TimeoutError:
            sys.exit(status)


main()
