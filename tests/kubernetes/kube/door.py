"""A way from one network to an address of another."""

import asyncio
import socket
import threading

CHUNK_BYTES = 1 << 16


class Door(threading.Thread):
    """Whoever connects to `address` in the network of `place` reaches `target` in the machine's.

    Octets are passed on as they are, so that TLS goes through from end to end.
    """

    def __init__(self, place, address, target):
        super().__init__(name=f"door to {target}", daemon=True)
        with place:
            self.listener = socket.create_server(address)
        self.target = target
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self):
        server = self.loop.run_until_complete(
            asyncio.start_server(self.accept, sock=self.listener, limit=CHUNK_BYTES))
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def accept(self, reader, writer):
        try:
            there_reader, there_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self.pump(reader, there_writer), self.pump(there_reader, writer))
        except OSError:
            pass
        finally:
            writer.transport.abort()
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
