"""Which cipher suite two sites agree on: the dialing one's hello, caught, and what answers it.

Nothing has to be asked of the programs: the hello of TLS 1.3 and its answer are in the clear.
"""
import socket

NAMES = {0x1301: 'TLS_AES_128_GCM_SHA256', 0x1302: 'TLS_AES_256_GCM_SHA384',
         0x1303: 'TLS_CHACHA20_POLY1305_SHA256'}
PATIENCE_SECONDS = 20


class Trap:
    """Listens where the other site will listen later, or pretends to be it."""

    def __init__(self):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.socket.settimeout(PATIENCE_SECONDS)
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def hello(self):
        client, _ = self.socket.accept()
        with client:
            client.settimeout(PATIENCE_SECONDS)
            return read_record(client)


def read_record(peer):
    header = read_exactly(peer, 5)
    return header + read_exactly(peer, int.from_bytes(header[3:], 'big'))


def read_exactly(peer, count):
    octets = b''
    while len(octets) < count:
        more = peer.recv(count - len(octets))
        if not more:
            raise RuntimeError(f'a connection of TLS ended after {octets}')
        octets += more
    return octets


def answer_to(hello, port):
    """The suite that the site at this port answers such a hello with."""
    with socket.create_connection(('127.0.0.1', port), timeout=PATIENCE_SECONDS) as server:
        server.sendall(hello)
        return suite_in(read_record(server))


def suite_in(record):
    """RFC 8446, 4.1.3: record (5), handshake (4), version (2), random (32), session id, suite."""
    if record[0] != 22 or record[5] != 2:
        raise RuntimeError(f'no server hello: {record[:16].hex()}')
    at = 43 + 1 + record[43]
    suite = int.from_bytes(record[at:at + 2], 'big')
    return NAMES.get(suite, f'suite {suite:#06x}')
