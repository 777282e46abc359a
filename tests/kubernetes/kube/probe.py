"""The probes of a container: startup, readiness, liveness."""

import contextlib
import http.client
import socket
import ssl
import threading
import time

from kube.environment import Unsupported

FIRST_PAUSE_SECONDS = 0.05


def port_number(container, port):
    """Ports can be named."""
    if isinstance(port, int):
        return port
    return next(one["containerPort"] for one in container["ports"] if one.get("name") == port)


def http_get(address, container, action, timeout):
    """The status of the answer. From the network that this thread is in."""
    where = action.get("host") or address, port_number(container, action["port"])
    if action.get("scheme") == "HTTPS":
        connection = http.client.HTTPSConnection(*where, timeout=timeout,
                                                 context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(*where, timeout=timeout)
    with contextlib.closing(connection):
        headers = {one["name"]: one["value"] for one in action.get("httpHeaders", [])}
        connection.request("GET", action.get("path", "/"),
                           headers={"User-Agent": "kube-probe/1.36", **headers})
        return connection.getresponse().status


class Probe(threading.Thread):
    """Asks every periodSeconds, from the node's network, until `over` is set. `tell(good)` is
    called when the thresholds are passed, in this thread.

    Before it first succeeds it is asked more often, and a failure counts once a period: so does
    the kubelet where it learns that a container has begun or changed.
    """

    def __init__(self, container, spec, over, tell):
        super().__init__(name=f"probe of {container.name}", daemon=True)
        self.container = container
        self.spec = spec
        self.over = over
        self.tell = tell
        kinds = [kind for kind in ("httpGet", "tcpSocket", "exec") if kind in spec]
        if not kinds:
            raise Unsupported(f"a probe other than httpGet, tcpSocket and exec: {spec}")
        self.kind = kinds[0]
        self.start()

    def run(self):
        self.container.pod.node.place.move_in()
        self.over.wait(self.spec.get("initialDelaySeconds", 0))
        period = self.spec["periodSeconds"]
        pause, has_succeeded, counted = FIRST_PAUSE_SECONDS, False, time.monotonic()
        in_a_row, last = 0, None
        while not self.over.is_set():
            good = self.succeeds()
            has_succeeded |= good
            if good or has_succeeded or time.monotonic() >= counted + period:
                counted = time.monotonic()
                in_a_row = in_a_row + 1 if good == last else 1
                last = good
                if in_a_row == self.spec["successThreshold" if good else "failureThreshold"]:
                    self.tell(good)
            pause = min(period, pause * 1.5)
            self.over.wait(period if has_succeeded else pause)

    def succeeds(self):
        action, timeout = self.spec[self.kind], self.spec["timeoutSeconds"]
        address = self.container.pod.address
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.kind == "exec":
                return self.container.execute(action["command"], timeout).returncode == 0
            if self.kind == "httpGet":
                return 200 <= http_get(address, self.container.spec, action, timeout) < 400
            where = action.get("host") or address, port_number(self.container.spec, action["port"])
            socket.create_connection(where, timeout=timeout).close()
            return True
        return False
