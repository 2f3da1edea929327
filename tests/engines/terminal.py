#!/usr/bin/env python3
"""Runs a command with a terminal as its standard streams, types what is on the standard input, and prints the rest.

What is typed is not echoed by this terminal, and the end of the input is not passed on: the command ends by itself.

usage: terminal.py [--size ROWSxCOLUMNS] COMMAND [ARGUMENT...]
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios


def main():
    arguments = sys.argv[1:]
    rows, columns = 24, 80
    if arguments[0] == "--size":
        rows, columns = map(int, arguments[1].split("x"))
        arguments = arguments[2:]
    pid, master = pty.fork()
    if pid == 0:
        # The size has to be there before the command looks.
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        settings = termios.tcgetattr(0)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, settings)
        os.execvp(arguments[0], arguments)
    sources = [0, master]
    while master in sources:
        for source in select.select(sources, [], [])[0]:
            try:
                data = os.read(source, 4096)
            except OSError:
                # The other side of a terminal is closed.
                data = b""
            if not data:
                sources.remove(source)
            elif source == master:
                sys.stdout.buffer.write(data.replace(b"\r", b""))
                sys.stdout.buffer.flush()
            else:
                os.write(master, data)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


main()
