"""The openai package against `r1 serve`: chat, stream, logprobs, completions, errors.

  openai_client.py R1_PROGRAM MODEL
"""

import json
import signal
import subprocess
import sys

import openai

QUESTION = [{"role": "user", "content": "Make 24 from 12, 11 and 47."}]


def chat(client, model):
    got = client.chat.completions.create(model=model, messages=QUESTION, seed=7)
    message = got.choices[0].message
    assert message.role == "assistant" and message.content, got
    assert message.reasoning_content and message.reasoning == message.reasoning_content, got
    assert got.choices[0].finish_reason in ("stop", "length")
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens
    assert 0 < got.usage.completion_tokens_details.reasoning_tokens < got.usage.completion_tokens
    again = client.chat.completions.create(model=model, messages=QUESTION, seed=7)
    assert again.choices[0].message == message
    return message


def stream(client, model, whole):
    content, reasoning, usage = "", "", None
    for chunk in client.chat.completions.create(
        model=model, messages=QUESTION, seed=7, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            thought = getattr(choice.delta, "reasoning_content", None)
            assert not (thought and choice.delta.content), chunk
            reasoning += thought or ""
            content += choice.delta.content or ""
    assert content == whole.content and reasoning == whole.reasoning_content
    assert usage.completion_tokens > 0
    # A stream that is left in its middle does no harm.
    with client.chat.completions.create(model=model, messages=QUESTION, seed=7, stream=True) as left:
        next(iter(left))


def logprobs(client, model):
    got = client.chat.completions.create(model=model, messages=QUESTION, seed=7, logprobs=True, top_logprobs=2)
    entries = got.choices[0].logprobs.content
    assert len(entries) == got.usage.completion_tokens
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 2
        assert bytes(entry.bytes).decode(errors="replace") == entry.token


def options(client, model):
    got = client.chat.completions.create(
        model=model, messages=QUESTION, seed=7, n=3, max_completion_tokens=20, temperature=0.8, top_p=0.95,
        presence_penalty=0.1, frequency_penalty=0.1, logit_bias={"7": -1}, stop=["zzz"], reasoning_effort="low",
        extra_body={"max_thinking_tokens": 3, "top_k": 20, "return_token_ids": True},
    )
    assert [c.index for c in got.choices] == [0, 1, 2]
    assert got.usage.completion_tokens_details.reasoning_tokens <= 9
    assert all(len(c.token_ids) <= 20 for c in got.choices)


def completions(client, model):
    got = client.completions.create(model=model, prompt=["1 + 1 =", "2 + 2 ="], max_tokens=4, seed=1, logprobs=2, n=2)
    assert len(got.choices) == 4
    assert len(got.choices[0].logprobs.tokens) == len(got.choices[0].logprobs.token_logprobs)


def errors(client, model):
    def refused(kind, param, **fields):
        try:
            client.chat.completions.create(**{"model": model, "messages": QUESTION, **fields})
        except kind as e:
            assert e.param == param, e
        else:
            raise AssertionError(fields)

    refused(openai.NotFoundError, "model", model="gpt-4o")
    refused(openai.BadRequestError, "temperature", temperature=-1)
    refused(openai.BadRequestError, "messages[0].content", messages=[{"role": "user", "content": 5}])
    assert [m.id for m in client.models.list()] == [model]
    assert client.models.retrieve(model).max_model_len > 0


def main():
    program, model = sys.argv[1:]
    server = subprocess.Popen([program, "serve", model, "--port", "0", "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        where = json.loads(server.stdout.readline())
        client = openai.OpenAI(base_url=where["url"] + "/v1", api_key="none", max_retries=0, timeout=120)
        whole = chat(client, where["model"])
        stream(client, where["model"], whole)
        logprobs(client, where["model"])
        options(client, where["model"])
        completions(client, where["model"])
        errors(client, where["model"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
    print(f"openai {openai.__version__}: chat, stream, logprobs, options, completions, errors: all as they should be")


if __name__ == "__main__":
    main()
