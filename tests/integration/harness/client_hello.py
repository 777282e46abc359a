"""The first message of TLS, which says unencrypted for whom the connection is."""

import struct

RECORD_HEADER_BYTES = 5
SERVER_NAME = 0  # RFC 6066 3


def record_bytes(header):
    """How much follows the header of a record."""
    return struct.unpack("!H", header[3:RECORD_HEADER_BYTES])[0]


def server_name(record):
    """The host name in a ClientHello, which is one record; None: there is none (RFC 8446 4.1.2)."""
    at = RECORD_HEADER_BYTES + 4 + 2 + 32
    at += 1 + record[at]                                    # session id
    at += 2 + struct.unpack_from("!H", record, at)[0]       # cipher suites
    at += 1 + record[at]                                    # compression methods
    end = at + 2 + struct.unpack_from("!H", record, at)[0]
    at += 2
    while at < end:
        kind, size = struct.unpack_from("!HH", record, at)
        at += 4
        if kind == SERVER_NAME:
            (length,) = struct.unpack_from("!H", record, at + 3)
            return record[at + 5:at + 5 + length].decode()
        at += size
    return None
