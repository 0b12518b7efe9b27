"""The openai package against `r1 serve`: chat, stream, logprobs, completions, structured output, tools, errors.

  openai_client.py R1_PROGRAM MODEL
"""

import enum
import json
import signal
import subprocess
import sys

import openai
import pydantic

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


class Side(str, enum.Enum):
    left = "left"
    right = "right"


class Step(pydantic.BaseModel):
    number: int = pydantic.Field(ge=0, le=99)
    side: Side


class Solution(pydantic.BaseModel):
    steps: list[Step] = pydantic.Field(min_length=1, max_length=2)
    sure: bool
    remark: Side | None


def structured(client, model):
    # A small model fills what the schema leaves open with noise: limits that are long enough, and several seeds.
    for seed in range(3):
        got = client.chat.completions.parse(model=model, messages=QUESTION, seed=seed, response_format=Solution,
                                            max_completion_tokens=900, reasoning_effort="low")
        choice = got.choices[0]
        assert choice.finish_reason == "stop" and isinstance(choice.message.parsed, Solution), got
        with client.chat.completions.stream(model=model, messages=QUESTION, seed=seed, response_format=Solution,
                                            max_completion_tokens=900, reasoning_effort="low") as stream:
            kinds = {event.type for event in stream}
            assert "content.delta" in kinds and "content.done" in kinds, kinds
            assert stream.get_final_completion().choices[0].message.parsed == choice.message.parsed
    got = client.chat.completions.create(model=model, messages=QUESTION, seed=1, response_format={"type": "json_object"},
                                         max_completion_tokens=300, reasoning_effort="low")
    if got.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(got.choices[0].message.content), dict)
    else:
        assert got.choices[0].finish_detail == "length_incomplete_json", got
    got = client.chat.completions.create(model=model, messages=QUESTION, seed=1, extra_body={"grammar": 'root ::= "yes" | "no"'})
    assert got.choices[0].message.content in ("yes", "no")
    try:  # an answer that is cut is no answer
        client.chat.completions.parse(model=model, messages=QUESTION, seed=1, response_format=Solution,
                                      max_completion_tokens=60, reasoning_effort="none")
    except openai.LengthFinishReasonError:
        pass
    except openai.BadRequestError as e:
        assert e.param == "max_completion_tokens", e


class Turn(pydantic.BaseModel):
    """Turns to a side."""
    side: Side
    degrees: int = pydantic.Field(ge=0, le=90)


class Wait(pydantic.BaseModel):
    """Waits."""
    seconds: int = pydantic.Field(ge=1, le=9)


def tools(client, model, classes):
    functions = [openai.pydantic_function_tool(c) for c in classes]
    common = {"model": model, "messages": QUESTION, "tools": functions, "reasoning_effort": "low", "max_completion_tokens": 300,
              "parallel_tool_calls": False}
    got = client.chat.completions.parse(**common, tool_choice="required", seed=2)
    choice = got.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None, got
    assert all(isinstance(call.function.parsed_arguments, (Turn, Wait)) for call in choice.message.tool_calls)
    with client.chat.completions.stream(**common, tool_choice="required", seed=2) as stream:
        deltas = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion().choices[0]
    assert deltas and [c.function.arguments for c in final.message.tool_calls] == [
        c.function.arguments for c in choice.message.tool_calls]
    assert [c.id for c in final.message.tool_calls] == [c.id for c in choice.message.tool_calls]
    named = client.chat.completions.create(**common, seed=3,
                                           tool_choice={"type": "function", "function": {"name": "Wait"}})
    (call,) = named.choices[0].message.tool_calls
    assert call.function.name == "Wait" and 1 <= json.loads(call.function.arguments)["seconds"] <= 9
    # The whole loop: the call, its result, the answer.
    messages = QUESTION + [named.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    after = client.chat.completions.create(**{**common, "messages": messages, "max_completion_tokens": 60}, tool_choice="none", seed=4)
    assert after.choices[0].finish_reason in ("stop", "length") and after.choices[0].message.content is not None
    free = client.chat.completions.create(**common, seed=5)
    assert free.choices[0].finish_reason in ("stop", "length", "tool_calls")


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
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    refused(openai.BadRequestError, "response_format.json_schema.schema.uniqueItems",
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert [m.id for m in client.models.list()] == [model]
    assert client.models.retrieve(model).max_model_len > 0


def main():
    program, model = sys.argv[1:]
    trained = "r1-nano" in model  # it thinks, and it ends its answers
    server = subprocess.Popen([program, "serve", model, "--port", "0", "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        where = json.loads(server.stdout.readline())
        client = openai.OpenAI(base_url=where["url"] + "/v1", api_key="none", max_retries=0, timeout=120)
        if trained:
            whole = chat(client, where["model"])
            stream(client, where["model"], whole)
            logprobs(client, where["model"])
            options(client, where["model"])
            completions(client, where["model"])
        structured(client, where["model"])
        # r1-nano's context is too short for the schemas of two functions.
        tools(client, where["model"], [Wait] if trained else [Turn, Wait])
        errors(client, where["model"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
    flows = "chat, stream, logprobs, options, completions, " if trained else ""
    print(f"openai {openai.__version__} and {where['model']}: {flows}structured output, tools, errors: all as they should be")


if __name__ == "__main__":
    main()
