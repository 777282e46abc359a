"""What OpenShift's router, an ingress controller or a Gateway does with TLS that it passes on."""

import asyncio
import collections
import socket
import threading

from harness.client_hello import RECORD_HEADER_BYTES, record_bytes, server_name

CHUNK_BYTES = 1 << 16


class SniRelay(threading.Thread):
    """Whoever connects to `address` in the network of `place` reaches the target of the host name
    that its ClientHello has, `targets` by name, and is cut when it has none. Octets are passed on
    as they are. `open` counts the connections of each name. Ends with close().
    """

    def __init__(self, place, address):
        super().__init__(name="SNI relay", daemon=True)
        self.place = place
        self.targets = {}
        self.passed = collections.Counter()
        self.open = collections.Counter()
        with place:
            self.listener = socket.create_server(address)
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self):
        self.place.move_in()  # where it connects from
        server = self.loop.run_until_complete(
            asyncio.start_server(self.accept, sock=self.listener, limit=CHUNK_BYTES))
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

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

    @staticmethod
    async def pump(source, target):
        while data := await source.read(CHUNK_BYTES):
            target.write(data)
            await target.drain()
        target.write_eof()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()
