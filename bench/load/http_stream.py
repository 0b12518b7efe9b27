"""A client of plain sockets on asyncio for OpenAI's API: it costs little, because it shares the machine with the server it measures."""

import asyncio
import dataclasses
import json
import time


@dataclasses.dataclass
class Answer:
    status: int = 0
    text: str = ""  # what the choice says; of a chat, the thought before the content
    finish: str = ""
    usage: dict = dataclasses.field(default_factory=dict)
    ids: list = dataclasses.field(default_factory=list)  # of servers that tell them
    times: list = dataclasses.field(default_factory=list)  # of the parts that have text, seconds
    error: str = ""

    def seen(self):
        """What must be equal for equal requests."""
        return (self.text, self.finish, tuple(self.ids), self.usage.get("completion_tokens"))


class Client:
    def __init__(self, port, host="127.0.0.1"):
        self.port, self.host = port, host

    async def post(self, target, body, on_part=None):
        """Sends a request and reads its answer, streamed or not. Errors are in the answer."""
        answer = Answer()
        writer = None
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 22)
            data = json.dumps(body).encode()
            writer.write((f"POST {target} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
                          f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            answer.status = int(head.split(b" ", 2)[1])
            is_chunked = b"transfer-encoding: chunked" in head.lower()
            if not body.get("stream") or answer.status != 200:
                whole = b"".join([part async for part in _pieces(reader, is_chunked)])
                if answer.status == 200:
                    _take(answer, json.loads(whole), "message")
                else:
                    answer.error = f"status {answer.status}: {whole[:300].decode(errors='replace')}"
                return answer
            ended = False
            rest = b""
            async for piece in _pieces(reader, is_chunked):
                lines = (rest + piece).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    if line.startswith(b"data: [DONE]"):
                        ended = True
                    elif line.startswith(b"data:") and _take(answer, json.loads(line[5:]), "delta"):
                        answer.times.append(time.perf_counter())
                        if on_part:
                            on_part()
            if not ended:
                answer.error = "the stream ended without [DONE]"
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError, KeyError) as error:
            answer.error = f"{type(error).__name__}: {error}"
        finally:
            if writer:
                writer.close()
        return answer


async def _pieces(reader, is_chunked):
    while True:
        if not is_chunked:
            piece = await reader.read(1 << 16)
            if not piece:
                return
            yield piece
            continue
        size = int(await reader.readuntil(b"\r\n"), 16)
        piece = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield piece[:-2]


def _take(answer, event, field):
    """Adds an event or a whole answer. Returns true if it has text or tokens."""
    if "error" in event:
        answer.error = json.dumps(event["error"])[:300]
        return False
    answer.usage = event.get("usage") or answer.usage
    if not event.get("choices"):
        return False
    choice = event["choices"][0]
    part = choice.get(field) or {}
    text = (part.get("reasoning_content") or "") + (part.get("content") or "") or choice.get("text") or ""
    ids = choice.get("token_ids") or []
    answer.text += text
    answer.ids += ids
    answer.finish = choice.get("finish_reason") or answer.finish
    return bool(text or ids)
