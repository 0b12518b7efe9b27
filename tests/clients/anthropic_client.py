"""The anthropic package against `r1 serve`: messages, streams, thinking, tools, counted tokens, errors.

  anthropic_client.py R1_PROGRAM MODEL
"""

import json
import signal
import subprocess
import sys

import anthropic

QUESTION = [{"role": "user", "content": "Make 24 from 12, 11 and 47."}]
TOOLS = [
    {
        "name": "turn",
        "description": "Turns to a side.",
        "input_schema": {
            "type": "object",
            "properties": {"side": {"enum": ["left", "right"]}, "degrees": {"type": "integer", "minimum": 0, "maximum": 90}},
            "required": ["side", "degrees"],
        },
    }
]


def messages(client, model):
    got = client.messages.create(model=model, max_tokens=400, messages=QUESTION, system="Be brief.", extra_body={"seed": 7})
    assert got.role == "assistant" and got.content[0].type == "text", got
    assert got.stop_reason in ("end_turn", "max_tokens") and got.usage.output_tokens > 0
    stop = got.content[0].text[2:4]
    cut = client.messages.create(model=model, max_tokens=400, messages=QUESTION, system="Be brief.", stop_sequences=[stop],
                                 extra_body={"seed": 7})
    assert cut.stop_reason == "stop_sequence" and cut.stop_sequence == stop
    counted = client.messages.count_tokens(model=model, messages=QUESTION, system="Be brief.")
    assert counted.input_tokens == got.usage.input_tokens + got.usage.cache_read_input_tokens


def thinking(client, model):
    asked = {"model": model, "max_tokens": 2000, "messages": QUESTION, "thinking": {"type": "enabled", "budget_tokens": 1024},
             "extra_body": {"seed": 7}}
    got = client.messages.create(**asked)
    assert [block.type for block in got.content] == ["thinking", "text"], got
    with client.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert "thinking" in kinds and "text" in kinds, kinds
    assert [b.to_dict() for b in final.content] == [b.to_dict() for b in got.content]
    assert final.usage.output_tokens == got.usage.output_tokens
    # The thought goes back with the next turn.
    more = QUESTION + [{"role": "assistant", "content": got.content}, {"role": "user", "content": "And 25?"}]
    assert client.messages.create(**{**asked, "messages": more}).role == "assistant"


def tools(client, model):
    asked = {"model": model, "max_tokens": 600, "messages": QUESTION, "tools": TOOLS, "extra_body": {"seed": 7}}
    got = client.messages.create(**asked, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    (use,) = [block for block in got.content if block.type == "tool_use"]
    assert got.stop_reason == "tool_use" and use.input["side"] in ("left", "right") and 0 <= use.input["degrees"] <= 90
    with client.messages.stream(**asked, tool_choice={"type": "any", "disable_parallel_tool_use": True}) as stream:
        assert any(event.type == "input_json" for event in stream)
        (streamed,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    assert streamed.input == use.input and streamed.id == use.id
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "turned"}
    more = QUESTION + [{"role": "assistant", "content": got.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**{**asked, "messages": more}, tool_choice={"type": "none"}).stop_reason in ("end_turn", "max_tokens")


def errors(client, model):
    def refused(kind, **fields):
        try:
            client.messages.create(**{"model": model, "max_tokens": 10, "messages": QUESTION, **fields})
        except kind as e:
            assert e.body["type"] == "error", e.body
        else:
            raise AssertionError(fields)

    refused(anthropic.NotFoundError, model="claude-opus-4")
    refused(anthropic.BadRequestError, messages=[])
    refused(anthropic.BadRequestError, extra_body={"temperature": -1})
    refused(anthropic.BadRequestError, thinking={"type": "enabled", "budget_tokens": 10})


def main():
    program, model = sys.argv[1:]
    server = subprocess.Popen([program, "serve", model, "--port", "0", "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        where = json.loads(server.stdout.readline())
        client = anthropic.Anthropic(base_url=where["url"], api_key="none", max_retries=0, timeout=120)
        for flow in (messages, thinking, tools, errors):
            flow(client, where["model"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
    print(f"anthropic {anthropic.__version__}: messages, thinking, tools, errors: all as they should be")


if __name__ == "__main__":
    main()
