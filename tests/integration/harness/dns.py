"""A name server that a test fills."""

import contextlib
import socket
import struct
import threading

DNS_PORT = 53
RECORD_A = 1
NO_SUCH_NAME = 3


class NameServer:
    """Answers for the names in `known`, name -> IPv4 address, until close(). It listens at the port
    that a resolv.conf cannot change, so make it in a network namespace of the test."""

    def __init__(self, host, known):
        self.known = known
        self.asked = []
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind((host, DNS_PORT))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            message, client = self.socket.recvfrom(512)
            if not message:
                return  # close() woke us
            self.socket.sendto(self.reply(message), client)

    def reply(self, message):
        """RFC 1035 4.1: header, the question as it came, the answer that points to its name."""
        labels = []
        at = 12
        while length := message[at]:
            labels.append(message[at + 1:at + 1 + length].decode())
            at += 1 + length
        at += 1
        name, (kind,) = ".".join(labels), struct.unpack_from("!H", message, at)
        self.asked.append(name)
        addresses = self.addresses(name)
        answers = [struct.pack("!HHHIH", 0xc00c, kind, 1, 1, 4) + socket.inet_aton(address)
                   for address in addresses or [] if kind == RECORD_A]
        flags = 0x8180 | (NO_SUCH_NAME if addresses is None else 0)
        return (message[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
                + message[12:at + 4] + b"".join(answers))

    def addresses(self, name):
        """None if there is no such name."""
        return [self.known[name]] if name in self.known else None

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # not connected, but it wakes recvfrom()
        self.thread.join()
        self.socket.close()
