"""A webhook server and a small MQTT broker for tests: they keep what they are sent.

Enough of HTTP/1.1 for posts, and of MQTT 3.1.1 for publishers with QoS 0 or 1.
"""

import asyncio
import struct
import threading
import time


def serving(handle):
    """Let a connection end in any way, and close it."""

    async def serve(reader, writer):
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    return serve


class Receiver:
    """A webhook server and an MQTT broker in one thread.

    posts: headers, body and Unix time of arrival of every request. topics: topic, payload, whether
    it is retained, and Unix time of arrival of every message.
    """

    def __init__(self):
        self.posts, self.topics, self.connects = [], [], []
        self.refuse = 0  # answers that are errors, still to come
        self.refuse_logins = False  # of MQTT
        self._loop, self._ends = asyncio.new_event_loop(), asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])
        self._thread.start()
        self._ready.wait()

    async def _serve(self):
        servers = [
            await asyncio.start_server(serving(handle), "127.0.0.1", 0)
            for handle in (self._on_http, self._on_mqtt)
        ]
        self.http, self.mqtt = (server.sockets[0].getsockname()[1] for server in servers)
        self._ready.set()
        await self._ends.wait()
        for server in servers:
            server.close()
        viewers = asyncio.all_tasks() - {asyncio.current_task()}
        for task in viewers:
            task.cancel()
        await asyncio.gather(*viewers, return_exceptions=True)

    def close(self):
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()
        self._loop.close()

    async def _on_http(self, reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            status = "503 No" if self.refuse else "200 OK"
            if self.refuse:
                self.refuse -= 1
            else:
                self.posts.append((headers, body, time.time()))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    async def _on_mqtt(self, reader, writer):
        while True:
            kind = (await reader.readexactly(1))[0]
            size = shift = 0
            while True:
                byte = (await reader.readexactly(1))[0]
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            body = await reader.readexactly(size)
            if kind >> 4 == 1:  # CONNECT
                self.connects.append(body)
                writer.write(b"\x20\x02\x00\x05" if self.refuse_logins else b"\x20\x02\x00\x00")
            elif kind >> 4 == 3:  # PUBLISH
                n = struct.unpack("!H", body[:2])[0]
                qos = kind >> 1 & 3
                start = 2 + n + (2 if qos else 0)
                topic = body[2 : 2 + n].decode()
                self.topics.append((topic, body[start:], bool(kind & 1), time.time()))
                if qos:
                    writer.write(b"\x40\x02" + body[2 + n : 4 + n])
            elif kind >> 4 == 12:  # PINGREQ
                writer.write(b"\xd0\x00")
            elif kind >> 4 == 14:  # DISCONNECT
                return
