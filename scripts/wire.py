"""Messages between two processes: a header of JSON and, for pictures, raw bytes. Nothing that arrives is executed.

4 bytes    length of the header, big-endian
header     a JSON object; where an array follows, with its "dtype" and "shape"
bytes      that array in C order, as many as dtype and shape say
"""

import json
import math
import select
import socket
from dataclasses import dataclass
from typing import Any

import numpy as np

PREFIX = 4
MAX_HEADER, MAX_ARRAY = 1 << 16, 1 << 24
"""Bytes; more than that is no message of ours."""
DTYPES = ("uint8", "float32")


class Malformed(ValueError):
    """What arrived is not a message."""


class Closed(ConnectionError):
    """The other side is gone."""


@dataclass(frozen=True)
class Message:
    """What one side tells the other; `header["kind"]` says what it is."""

    header: dict[str, Any]
    array: np.ndarray | None = None


def encode(header: dict[str, Any], array: np.ndarray | None = None) -> bytes:
    """The bytes of a message.

    Raises:
        ValueError: when the header is no JSON or too long, or the array of a kind or size that is not sent.
    """
    described = header if array is None else {**header, "dtype": str(array.dtype), "shape": list(array.shape)}
    text = json.dumps(described, allow_nan=False).encode()
    if len(text) > MAX_HEADER:
        raise ValueError(f"a header takes at most {MAX_HEADER} bytes, got {len(text)}")
    _array_bytes(described)
    return len(text).to_bytes(PREFIX, "big") + text + (b"" if array is None else np.ascontiguousarray(array).tobytes())


class Decoder:
    """Puts messages together from bytes as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Messages that are whole now.

        Raises:
            Malformed: when this cannot become a message, however much still comes.
        """
        self._bytes += data
        messages = []
        while (taken := self._take()) is not None:
            messages.append(taken)
        return messages

    def _take(self) -> Message | None:
        if len(self._bytes) < PREFIX:
            return None
        length = int.from_bytes(self._bytes[:PREFIX], "big")
        if length > MAX_HEADER:
            raise Malformed(f"a header takes at most {MAX_HEADER} bytes, got {length}")
        begin = PREFIX + length
        if len(self._bytes) < begin:
            return None
        header = _header(bytes(self._bytes[PREFIX:begin]))
        size = _array_bytes(header)
        if len(self._bytes) < begin + size:
            return None
        array = None
        if "dtype" in header:
            array = np.frombuffer(bytes(self._bytes[begin : begin + size]), header["dtype"]).reshape(header["shape"])
        del self._bytes[: begin + size]
        return Message(header, array)


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a header must be JSON, got {text[:40]!r}") from error
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise Malformed(f"a header must be an object with a kind, got {text[:40]!r}")
    return header


def _array_bytes(header: dict[str, Any]) -> int:
    """How many bytes follow a header."""
    if "dtype" not in header and "shape" not in header:
        return 0
    dtype, shape = header.get("dtype"), header.get("shape")
    if dtype not in DTYPES:
        raise Malformed(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if not isinstance(shape, list) or not all(type(extent) is int and extent >= 0 for extent in shape):
        raise Malformed(f"shape must be a list of extents, got {shape!r}")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if len(shape) > 8 or size > MAX_ARRAY:
        raise Malformed(f"an array takes at most {MAX_ARRAY} bytes in 8 dimensions, got {dtype} {shape}")
    return size


class Link:
    """One side of a connection. Neither sending nor receiving waits for the other side."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._decoder, self._outgoing = connection, Decoder(), bytearray()

    def send(self, header: dict[str, Any], array: np.ndarray | None = None, always: bool = False) -> bool:
        """Send a message, unless an earlier one is still under way; says whether it was sent.

        Args:
            always: queue it behind the earlier one.

        Raises:
            Closed: when the other side is gone.
        """
        self._flush()
        if self._outgoing and not always:
            return False
        self._outgoing += encode(header, array)
        self._flush()
        return True

    def receive(self, timeout: float) -> list[Message]:
        """What has arrived; waits for something, at most so many seconds.

        Raises:
            Closed: when the other side is gone.
            Malformed: when it sent something else than messages.
        """
        wants_to_send = [self._socket] if self._outgoing else []
        ready, writable, _ = select.select([self._socket], wants_to_send, [], max(0.0, timeout))
        if writable:
            self._flush()
        messages: list[Message] = []
        while ready:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError as error:
                raise Closed(str(error)) from error
            if not data:
                if messages:
                    break  # they first; the next call tells
                raise Closed("the connection was closed")
            messages += self._decoder.feed(data)
        return messages

    def _flush(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Closed(str(error)) from error

    def close(self) -> None:
        self._socket.close()
