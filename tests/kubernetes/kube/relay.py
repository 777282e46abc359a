"""A way to the API server that a test makes slow, and cuts."""

import asyncio
import threading

CHUNK_BYTES = 1 << 16


class Relay(threading.Thread):
    """Whoever connects to `address` reaches `target`. Octets are passed on as they are.

    cut() resets every connection that is open; set_delay() holds back what comes from then on;
    with set_open(False) nobody gets through. Ends with close().
    """

    def __init__(self, address, target):
        super().__init__(name=f"relay to {target}", daemon=True)
        self.address = address
        self.target = target
        self.delay = 0
        self.is_open = True
        self.writers = set()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.accept, *address, limit=CHUNK_BYTES))
        self.start()

    def run(self):
        self.loop.run_forever()
        self.server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def accept(self, reader, writer):
        if not self.is_open:
            return writer.transport.abort()
        ours = {writer}
        try:
            there_reader, there_writer = await asyncio.open_connection(*self.target)
            ours.add(there_writer)
            self.writers |= ours
            await asyncio.gather(self.pump(reader, there_writer), self.pump(there_reader, writer))
        except OSError:
            pass
        finally:
            self.writers -= ours
            for one in ours:
                one.transport.abort()

    async def pump(self, source, target):
        while data := await source.read(CHUNK_BYTES):
            await asyncio.sleep(self.delay)
            target.write(data)
            await target.drain()
        target.write_eof()

    # --- any thread ----------------------------------------------------------------------

    def set_delay(self, seconds):
        """Of each piece, in each direction."""
        self.delay = seconds

    def set_open(self, is_open):
        self.is_open = is_open
        if not is_open:
            self.cut()

    def cut(self):
        def abort_all():
            for writer in list(self.writers):
                writer.transport.abort()

        self.loop.call_soon_threadsafe(abort_all)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()
