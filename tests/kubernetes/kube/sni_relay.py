"""What OpenShift's router, an ingress controller or a Gateway does with TLS that it passes on."""

import asyncio
import collections

from harness.client_hello import RECORD_HEADER_BYTES, record_bytes, server_name

from kube.door import Door


class SniRelay(Door):
    """Whoever connects to `address` in the network of `place` reaches the target of the host name
    that its ClientHello has, `targets` by name, and is cut when it has none. Octets are passed on
    as they are. `open` counts the connections of each name. Ends with close().
    """

    def __init__(self, place, address):
        self.place = place
        self.targets = {}
        self.passed = collections.Counter()
        self.open = collections.Counter()
        super().__init__(place, address, "hosts by name")

    def run(self):
        self.place.move_in()  # where it connects from
        super().run()

    async def accept(self, reader, writer):
        there_writer = name = None
        try:
            header = await reader.readexactly(RECORD_HEADER_BYTES)
            hello = header + await reader.readexactly(record_bytes(header))
            there_reader, there_writer = await asyncio.open_connection(
                *self.targets[server_name(hello)])
            name = server_name(hello)
            self.passed[name] += 1
            self.open[name] += 1
            there_writer.write(hello)
            await asyncio.gather(self.pump(reader, there_writer), self.pump(there_reader, writer))
        except (OSError, KeyError, EOFError):
            pass  # cut
        finally:
            if name:
                self.open[name] -= 1
            writer.transport.abort()
            if there_writer:
                there_writer.transport.abort()
