"""A small camera for tests: serves the H.264 of a file by RTSP, in a loop, at its own pace.

    python tests/rtsp_server.py video.mp4 [port]      prints its address, then serves

RTSP 1.0 (RFC 2326) with RTP inside the connection, H.264 payloads by RFC 6184. One file, as many
viewers as come, each from the start. Stop the process and the camera is silent; end it and it is
gone. A line with the time tells when a viewer begins to watch.
"""

import base64
import random
import socketserver
import struct
import sys
import time

import av
from av.bitstream import BitStreamFilterContext

RATE_HZ = 90_000  # of RTP's clock for video
PAYLOAD_TYPE = 96
MTU_BYTES = 1400


class Camera(socketserver.StreamRequestHandler):
    """One viewer."""

    def handle(self):
        while request := self.read_request():
            method, url, headers = request
            reply = {"CSeq": headers.get("cseq", "0"), "Session": "1"}
            body = ""
            if method == "OPTIONS":
                reply["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
            elif method == "DESCRIBE":
                body = description(self.server.video)
                reply |= {"Content-Type": "application/sdp", "Content-Base": f"{url}/"}
            elif method == "SETUP":
                reply["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
            self.reply(reply, body)
            if method == "PLAY":
                self.play()
                return

    def read_request(self):
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        if not lines:
            return None
        method, url, _ = lines[0].split()
        pairs = (line.partition(":") for line in lines[1:])
        return method, url, {name.lower(): value.strip() for name, _, value in pairs}

    def reply(self, headers, body):
        headers["Content-Length"] = len(body)
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.wfile.write(f"RTSP/1.0 200 OK\r\n{text}\r\n{body}".encode())

    def play(self):
        sequence, source = random.getrandbits(16), random.getrandbits(32)
        started = time.monotonic()
        print(f"plays {time.time()}", flush=True)
        for seconds, units in access_units(self.server.video):
            time.sleep(max(0.0, started + seconds - time.monotonic()))
            packets = [part for unit in units for part in payloads(unit)]
            for i, payload in enumerate(packets):
                last = (i == len(packets) - 1) << 7
                ticks = int(seconds * RATE_HZ) & 0xFFFFFFFF
                sequence = (sequence + 1) & 0xFFFF
                kind = PAYLOAD_TYPE | last
                packet = struct.pack("!BBHII", 0x80, kind, sequence, ticks, source) + payload
                self.wfile.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)


def access_units(video):
    """Seconds and NAL units of every picture, for ever, in the order of decoding."""
    base = 0.0
    while True:
        with av.open(video) as container:
            stream = container.streams.video[0]
            as_bytes = BitStreamFilterContext("h264_mp4toannexb", stream)
            step = float(1 / stream.average_rate)
            first = None
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue
                seconds = float(packet.pts * packet.time_base)
                first = seconds if first is None else first
                for part in as_bytes.filter(packet):
                    yield base + seconds - first, nal_units(bytes(part))
        base += seconds - first + step


def nal_units(data):
    """The units between the start codes of a byte stream."""
    parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]


def payloads(unit):
    """RTP payloads of a unit: itself, or where it is too long its fragments (FU-A)."""
    if len(unit) <= MTU_BYTES:
        yield unit
        return
    indicator, kind = unit[0] & 0xE0 | 28, unit[0] & 0x1F
    pieces = [unit[i : i + MTU_BYTES] for i in range(1, len(unit), MTU_BYTES)]
    for i, piece in enumerate(pieces):
        ends = (i == 0) << 7 | (i == len(pieces) - 1) << 6
        yield bytes([indicator, kind | ends]) + piece


def description(video):
    """SDP: what the stream is, with its parameter sets."""
    _, units = next(access_units(video))
    sets = ",".join(base64.b64encode(u).decode() for u in units if u[0] & 0x1F in (7, 8))
    return (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/{RATE_HZ}\r\n"
        f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={sets}\r\n"
        "a=control:video\r\n"
    )


class Server(socketserver.ThreadingTCPServer):
    video: str
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request, address):
        """Viewers leave without a word."""


if __name__ == "__main__":
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with Server(("127.0.0.1", port), Camera) as server:
        server.video = sys.argv[1]
        print(f"rtsp://127.0.0.1:{server.server_address[1]}/camera", flush=True)
        server.serve_forever()
