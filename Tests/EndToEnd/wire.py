"""What comes back on a connection, framed as strictly as RFC 9112 has it: every byte belongs to one answer, or it is an error."""
import json
import re
import socket

from server import PATIENCE

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")


class BadFraming(AssertionError):
    pass


class Answer:
    """One answer to one request; `interim` are the statuses that came before it."""

    def __init__(self, status, fields, body, interim):
        self.status, self.fields, self.body, self.interim = status, fields, body, interim

    def __repr__(self):
        return f"<{self.status} {self.body[:80]!r}>"

    @property
    def closes(self):
        return "close" in self.fields.get("connection", "").lower()

    @property
    def json(self):
        return json.loads(self.body)


def head(data, start):
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    first, *lines = data[start:end].split(b"\r\n")
    if not (found := STATUS_LINE.fullmatch(first)):
        raise BadFraming(f"no status line: {first!r}")
    fields = {}
    for line in lines:
        if not (field := FIELD.fullmatch(line)):
            raise BadFraming(f"no field: {line!r}")
        name = field[1].decode().lower()
        if name in fields and name in ("content-length", "transfer-encoding", "date", "content-type"):
            raise BadFraming(f"twice: {name}")
        fields[name] = fields[name] + ", " + field[2].decode("latin-1") if name in fields else field[2].decode("latin-1")
    return int(found[1]), fields, end + 4


def chunks(data, start):
    """The body and where it ends; None while it is not complete."""
    body = b""
    while (end := data.find(b"\r\n", start)) >= 0:
        if not re.fullmatch(rb"[0-9a-fA-F]+", data[start:end]):
            raise BadFraming(f"no chunk size: {data[start:end]!r}")
        size = int(data[start:end], 16)
        start = end + 2
        if len(data) < start + size + 2:
            return None
        if data[start + size:start + size + 2] != b"\r\n":
            raise BadFraming("a chunk is longer than its size")
        body += data[start:start + size]
        start += size + 2
        if size == 0:
            return body, start
    return None


def answers(data, methods, ended=True):
    """The answers in `data` to requests with these methods, and what is left: nothing, or part of one that has not all come."""
    found, interim, start = [], [], 0
    while start < len(data):
        if len(found) == len(methods):
            raise BadFraming(f"{len(methods)} requests, but one answer more: {data[start:start + 200]!r}")
        if (parsed := head(data, start)) is None:
            break
        status, fields, after = parsed
        if status < 200:
            interim.append(status)
            start = after
            continue
        if methods[len(found)] == "HEAD" or status in (204, 304):
            body, end = b"", after
        elif "transfer-encoding" in fields:
            if fields["transfer-encoding"] != "chunked" or "content-length" in fields:
                raise BadFraming(f"bad framing: {fields}")
            if (read := chunks(data, after)) is None:
                break
            body, end = read
        elif "content-length" in fields:
            body, end = data[after:after + int(fields["content-length"])], after + int(fields["content-length"])
            if len(data) < end:
                break
        else:
            if "close" not in fields.get("connection", "") or not ended:
                raise BadFraming(f"an answer without an end: {fields}")
            body, end = data[after:], len(data)
        found.append(Answer(status, fields, body, interim))
        interim, start = [], end
    if ended and start < len(data):
        raise BadFraming(f"part of an answer: {data[start:start + 200]!r}")
    return found, data[start:]


class Wire:
    """One connection, byte by byte."""

    def __init__(self, port, host="127.0.0.1", path=None):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection((host, port), PATIENCE)
        self.received = b""
        self.methods = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, *methods):
        """Sends requests as they are; their methods say how the answers are framed."""
        self.methods += methods
        self.socket.sendall(data)
        return self

    def shut(self):
        """Says that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def read(self, count):
        """All answers, once there are as many as this."""
        while True:
            found, _ = answers(self.received, self.methods, ended=False)
            if len(found) >= count:
                return found
            piece = self.socket.recv(65536)
            if not piece:
                raise BadFraming(f"closed after {len(found)} answers: {self.received!r}")
            self.received += piece

    def until(self, needle):
        """Everything, once this is part of it."""
        while needle not in self.received:
            piece = self.socket.recv(65536)
            if not piece:
                raise BadFraming(f"closed without {needle!r}: {self.received!r}")
            self.received += piece
        return self.received

    def rest(self):
        """All answers that come until the server closes."""
        while piece := self.socket.recv(65536):
            self.received += piece
        return answers(self.received, self.methods)[0]


def request(method, target, fields=(), body=b"", host="localhost", version="1.1"):
    lines = [f"{method} {target} HTTP/{version}", *([f"Host: {host}"] if host is not None else []),
             *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
