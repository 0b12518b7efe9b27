"""Validates what `r1 generate` writes under JSON Schemas.

A hot temperature makes the model's tokens almost random among those that the schema allows. Every complete answer must be JSON
that the jsonschema package calls valid. Schemas that r1 refuses are counted; the count of complete answers is printed.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import jsonschema

OWN = [
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
     "required": ["name", "age"]},
    {"type": "array", "items": {"enum": ["a", "b", 3, None, [1], {"k": True}]}, "minItems": 1, "maxItems": 4},
    {"type": "number", "exclusiveMinimum": -1.5, "maximum": 20, "multipleOf": 0.25},
    {"type": "string", "pattern": "^[a-c]{2}(x|yz)+$", "maxLength": 9},
    {"type": "string", "format": "date"},
    {"oneOf": [{"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"], "additionalProperties": False}, {"type": "boolean"}]},
    {"type": "array", "prefixItems": [{"type": "null"}, {"const": 2}], "contains": {"const": 7}, "maxItems": 4},
    {"$defs": {"t": {"type": "object", "properties": {"left": {"$ref": "#/$defs/t"}, "v": {"type": "boolean"}}, "required": ["v"]}}, "$ref": "#/$defs/t"},
]


def schemas_of(options):
    if options.schemas:
        return [json.loads(line) for line in open(options.schemas)]
    if options.suite:
        return [group["schema"] for file in sorted(pathlib.Path(options.suite).glob("*.json")) for group in json.load(open(file))]
    return OWN


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas")
    parser.add_argument("--suite")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=150)
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--model", default="models/r1-nano")
    options = parser.parse_args()
    schemas = schemas_of(options)
    rows = "".join(json.dumps({"prompt": "JSON:", "json_schema": s}) + "\n" for s in schemas)
    command = [options.r1, "generate", options.model, "--input", "-", "--output", "-", "--samples", str(options.samples),
               "--temperature", "3", "--max-tokens", str(options.max_tokens)]
    result = subprocess.run(command, input=rows, text=True, capture_output=True)
    if result.returncode not in (0, 2):
        sys.exit(f"check_schemas: {' '.join(command)} ended with {result.returncode}: {result.stderr}")
    complete = cut = wrong = 0
    refused = {}
    for line in result.stdout.splitlines():
        row = json.loads(line)
        if "error" in row:
            refused[row["row"]] = row["error"]
            continue
        if not row["complete"]:
            cut += 1
            continue
        complete += 1
        schema = schemas[row["row"]]
        text = row["text"].split("</think>")[-1].strip()
        try:
            jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(json.loads(text))
        except (ValueError, jsonschema.ValidationError) as error:
            wrong += 1
            print(f"check_schemas: {json.dumps(schema)}\n  wrote {text}\n  {str(error).splitlines()[0]}", file=sys.stderr)
    print(f"check_schemas: {len(schemas)} schemas, {len(refused)} refused, {complete} complete answers, {cut} cut short, {wrong} wrong")
    if options.suite is None and options.schemas is None and refused:
        sys.exit(f"check_schemas: refused: {refused}")
    sys.exit(1 if wrong or complete == 0 else 0)


if __name__ == "__main__":
    main()
