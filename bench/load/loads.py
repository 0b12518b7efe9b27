"""The requests, and the loads that server_load.py puts on a server."""

import asyncio
import random
import time

from http_stream import Client

WORDS = ("time year people way day man thing woman life child world school state family student group country problem hand part "
         "place case week company system program question work government number night point home water room mother area money "
         "story fact month lot right study book eye job word business issue side kind head house service friend father power "
         "hour game line end member law car city community name president team minute idea body information back parent face").split()


def prose(seed, words):
    """Words in an order that a seed fixes. Two seeds share no beginning."""
    draw = random.Random(seed)
    return f"Story {seed}: " + " ".join(draw.choice(WORDS) for _ in range(words)) + "."


def completion(seed, tokens, words, fixed_length=True):
    """A request for the same work from every server."""
    body = {"prompt": prose(seed, words), "max_tokens": tokens, "temperature": 0.8, "seed": seed, "stream": True,
            "stream_options": {"include_usage": True}}
    if fixed_length:
        body["ignore_eos"] = True
    return body


def checked(seed):
    """A request whose answer is compared with that of the request alone: r1 only, in all of its forms."""
    body = {"messages": [{"role": "user", "content": prose(seed, 10 + seed * 7 % 60)}], "seed": seed, "stream": seed % 3 != 0,
            "max_tokens": 24 + seed * 5 % 60, "return_token_ids": True, "temperature": 0.6 + seed % 4 * 0.2}
    if body["stream"]:
        body["stream_options"] = {"include_usage": True}
    if seed % 5 == 1:
        body["max_thinking_tokens"] = 5
    if seed % 7 == 2:
        body["stop"] = ["e t", "\n\n"]
    if seed % 11 == 3:
        body["response_format"] = {"type": "json_object"}
    if seed % 4 == 2:
        body["presence_penalty"] = 0.5
    return body


def percentile(values, share):
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values, share):
    value = percentile(values, share)
    return None if value is None else round(value * 1e3, 2)


class Tally:
    """What a load has seen between open() and close()."""

    def __init__(self):
        self.first, self.between, self.errors = [], [], []
        self.requests = self.parts = self.tokens = self.begun = 0
        self.opened = self.closed = float("inf")

    def open(self):
        self.opened = time.perf_counter()

    def close(self):
        self.closed = time.perf_counter()

    def is_open(self, at):
        return self.opened <= at < self.closed

    def take(self, sent, answer):
        if answer.error:
            self.errors.append(answer.error)
            return
        times = answer.times
        if times and self.is_open(times[0]):
            self.first.append(times[0] - sent)
        self.between += [b - a for a, b in zip(times, times[1:]) if self.is_open(b)]
        if times and self.is_open(times[-1]):
            self.requests += 1
        # Servers may put several tokens into one part: the parts of an answer stand for its tokens evenly.
        tokens = answer.usage.get("completion_tokens") or len(times)
        if times:
            self.tokens += tokens * sum(map(self.is_open, times)) / len(times)

    def row(self, cpu):
        seconds = self.closed - self.opened
        return {
            "seconds": round(seconds, 2), "requests": self.requests, "errors": len(self.errors),
            "requests_per_s": round(self.requests / seconds, 3), "tokens_per_s": round(self.tokens / seconds, 2),
            "tokens_per_cpu_s": round(self.tokens / cpu, 2) if cpu else None,
            "first_ms_p50": milliseconds(self.first, 0.5), "first_ms_p99": milliseconds(self.first, 0.99),
            "between_ms_p50": milliseconds(self.between, 0.5), "between_ms_p99": milliseconds(self.between, 0.99),
            "between_ms_max": milliseconds(self.between, 1)}


async def steady(server, concurrent, options, seeds):
    """Keeps `concurrent` requests in progress, and counts what comes within options.seconds after a start."""
    client, tally = Client(server.port), Tally()
    over = False

    async def work():
        while not over:
            body = completion(next(seeds), options.tokens, options.words)
            sent = time.perf_counter()
            task = asyncio.ensure_future(client.post("/v1/completions", body))
            pending.add(task)
            task.add_done_callback(pending.discard)
            answer = await task
            tally.take(sent, answer)
            if answer.error:
                await asyncio.sleep(0.5)

    pending = set()
    workers = [asyncio.ensure_future(work()) for _ in range(concurrent)]
    await asyncio.sleep(options.warmup)
    cpu = server.cpu_seconds()
    tally.open()
    await asyncio.sleep(options.seconds)
    tally.close()
    cpu = server.cpu_seconds() - cpu
    over = True
    await asyncio.wait(workers, timeout=600)  # answers in progress count with the parts that came in time
    return tally.row(cpu), tally.errors


async def alone(server, seeds):
    """The answers of the requests to be compared, one after another."""
    client = Client(server.port)
    answers = {}
    for seed in seeds:
        answers[seed] = await client.post("/v1/chat/completions", checked(seed))
        if answers[seed].error:
            raise SystemExit(f"server_load: request {seed} alone: {answers[seed].error}")
    return answers


async def soak(server, options, expected, seeds):
    """`options.streams` streams for `options.minutes`: every fourth is one of those whose answer is known."""
    client, tally = Client(server.port), Tally()
    wrong, compared, memory = [], 0, []
    until = time.perf_counter() + options.minutes * 60
    known = sorted(expected)

    async def stream(number):
        nonlocal compared
        turn = number
        while time.perf_counter() < until:
            turn += 1
            is_known = turn % 4 == 0
            seed = known[(turn // 4 * 31 + number) % len(known)] if is_known else next(seeds)
            target = "/v1/chat/completions" if is_known else "/v1/completions"
            sent = time.perf_counter()
            answer = await client.post(target, checked(seed) if is_known else completion(seed, options.tokens, options.words, seed % 2 == 0))
            tally.take(sent, answer)
            if answer.error:
                await asyncio.sleep(0.5)
            elif is_known:
                compared += 1
                if answer.seen() != expected[seed].seen():
                    wrong.append((seed, expected[seed].seen(), answer.seen()))

    async def watch():
        while time.perf_counter() < until:
            memory.append((time.perf_counter() - tally.opened, server.memory()))
            await asyncio.sleep(1)

    cpu = server.cpu_seconds()
    tally.open()
    await asyncio.gather(watch(), *(stream(i) for i in range(options.streams)))
    tally.close()
    row = tally.row(server.cpu_seconds() - cpu)
    row |= {"compared": compared, "different": len(wrong)} | growth(memory)
    return row, tally.errors, wrong, memory


def growth(memory):
    """How much the resident memory has grown in the second half: the mean of the last tenth against that of the middle tenth."""
    def mean(begin, end):
        part = [size for _, size in memory[int(len(memory) * begin):max(int(len(memory) * end), int(len(memory) * begin) + 1)]]
        return sum(part) / len(part)

    middle, last = mean(0.45, 0.55), mean(0.9, 1)
    return {"memory_mib_start": round(memory[0][1] / 2**20, 1), "memory_mib_middle": round(middle / 2**20, 1),
            "memory_mib_end": round(last / 2**20, 1), "growth_percent": round((last / middle - 1) * 100, 3)}


async def prefix(server, tokens, words_of):
    """Two requests whose prompts share about `tokens` tokens at their beginning: the second's first token beside the first's."""
    client = Client(server.port)
    rows = []
    for seed in range(5):
        begin = words_of(tokens, seed)
        times = []
        for question in ("Who is that?", "What happens then?"):
            body = {"prompt": f"{begin} {question}", "max_tokens": 8, "seed": 1, "stream": True, "stream_options": {"include_usage": True},
                    "ignore_eos": True}
            sent = time.perf_counter()
            answer = await client.post("/v1/completions", body)
            if answer.error:
                raise SystemExit(f"server_load: the prefix test: {answer.error}")
            times.append((answer.times[0] - sent, answer.usage["prompt_tokens"],
                          (answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)))
        (cold, prompt, _), (warm, _, cached) = times
        rows.append({"prompt_tokens": prompt, "cached_tokens": cached, "cold_ms": round(cold * 1e3, 2), "warm_ms": round(warm * 1e3, 2),
                     "share": round(warm / cold, 4)})
    return sorted(rows, key=lambda row: row["share"])[len(rows) // 2]
