#!/usr/bin/env python3
"""A server of a pod: answers each line with its name. `backend_program.py NAME HOST PORT`

SIGTERM: it goes on until no connection is open, then ends.
"""

import signal
import socket
import sys
import threading


def serve(connection, greeting, on_end):
    try:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(greeting + line)
    except OSError:
        pass
    finally:
        on_end()


def main():
    name, host, port = sys.argv[1:]
    open_now = 0
    changed = threading.Condition()

    def on_end():
        nonlocal open_now
        with changed:
            open_now -= 1
            changed.notify_all()

    def accept():
        nonlocal open_now
        while True:
            connection, _ = listening.accept()
            with changed:
                open_now += 1
            threading.Thread(target=serve, args=[connection, f"{name} ".encode(), on_end],
                             daemon=True).start()

    # Blocked here and waited for below: a handler would run in between anything.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    listening = socket.create_server((host, int(port)), backlog=512)
    threading.Thread(target=accept, daemon=True).start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    with changed:
        changed.wait_for(lambda: open_now == 0)


main()
