"""schemathesis against `r1 serve`: it makes requests from the part of OpenAI's own description of its API that r1 serves, and checks
that no answer is an internal error and that each has the described form.

  schemathesis_client.py R1_PROGRAM MODEL OPENAI_OPENAPI.json [EXAMPLES]
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from r1_server import R1Server

PATHS = {"/chat/completions": ["post"], "/completions": ["post"], "/models": ["get"], "/models/{model}": ["get"]}
MOST_TOKEN = 500  # the model has more
MOST_TOKENS = 8  # of an answer, so that many requests are made


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def cut(whole, model):
    """The description of PATHS and of what they refer to; short answers of this server's model."""
    paths = {path: {method: whole["paths"][path][method] for method in methods} for path, methods in PATHS.items()}
    error = {"description": "refused", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}
    for methods in paths.values():
        for operation in methods.values():
            operation["responses"] = {"200": operation["responses"]["200"], "4XX": error}
            operation.pop("x-oaiMeta", None)
    # /v1/completions streams events, too, which this description only says in words.
    answers = paths["/completions"]["post"]["responses"]["200"]["content"]
    answers["text/event-stream"] = answers["application/json"]
    components = {"schemas": {}, "responses": {}}
    work = list(references(paths))
    while work:
        _, _, kind, name = work.pop().split("/")
        if name in components[kind]:
            continue
        components[kind][name] = whole["components"][kind][name]
        work += references(components[kind][name])
    names = {"const": model}
    for name, holder in (("CreateChatCompletionRequest", components["schemas"]["CreateChatCompletionRequest"]["allOf"][-1]),
                         ("CreateCompletionRequest", components["schemas"]["CreateCompletionRequest"])):
        properties = holder["properties"]
        assert "model" in properties and "max_tokens" in properties, name
        properties["model"] = names
        properties["max_tokens"] = {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS}
        properties["n"] = {"type": "integer", "minimum": 1, "maximum": 3}
        properties.pop("max_completion_tokens", None)
        properties.pop("best_of", None)
        properties.pop("suffix", None)
        if "prompt" in properties:  # as the description has it, with tokens that the model knows
            text, token = {"type": "string", "minLength": 1, "maxLength": 100}, {"type": "integer", "minimum": 0, "maximum": MOST_TOKEN}
            properties["prompt"] = {"oneOf": [text] + [{"type": "array", "minItems": 1, "maxItems": 4, "items": one} for one in (text, token)]}
        holder["required"] = sorted({*holder.get("required", []), "max_tokens"})
    return {"openapi": whole["openapi"], "info": {"title": "the part that r1 serves", "version": "1"}, "paths": paths,
            "components": {kind: part for kind, part in components.items() if part}}


def main():
    program, model, description = sys.argv[1:4]
    examples = sys.argv[4] if len(sys.argv) > 4 else "60"
    with tempfile.TemporaryDirectory() as folder, R1Server(program, model) as server:
        path = pathlib.Path(folder) / "openapi.json"
        path.write_text(json.dumps(cut(json.load(open(description)), server.model)))
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", f"{server.url}/v1", "--seed", "1",
                   "--max-examples", examples, "--phases", "fuzzing", "--mode", "all", "--generation-database", "none", "--no-color",
                   "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                   "--suppress-health-check", "all", "--request-timeout", "60"]
        result = subprocess.run(command, cwd=folder)
        after = server.metrics()
        leaked = after["r1_kv_pages"] - after["r1_kv_pages_free"] - after["r1_kv_pages_cached"]
        asked = sum(count for name, count in after.items() if name.startswith("r1_requests_total") and '/v1/' in name)
        answered = sum(count for name, count in after.items() if name.startswith("r1_requests_total") and 'status="200"' in name)
        assert result.returncode == 0, f"schemathesis ended with status {result.returncode}"
        assert leaked == 0, f"{leaked} pages of the KV cache are lost"
        assert answered > 0, "no request was answered"
    print(f"schemathesis_client: passed: {asked:.0f} requests, {answered:.0f} answered")


if __name__ == "__main__":
    main()
