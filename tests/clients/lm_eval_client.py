"""lm-eval (EleutherAI's harness) against `r1 serve`: local-completions for log-likelihoods and for texts, local-chat-completions for
conversations. The tasks are made here, so that nothing is fetched. Log-likelihoods must be those of `r1 score`.

  lm_eval_client.py R1_PROGRAM MODEL_DIRECTORY
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
               "OPENAI_API_KEY": "none"}

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from r1_server import R1Server  # noqa: E402

SUMS = [(a, b) for a in (2, 13, 40) for b in (3, 18)]


def write_tasks(folder):
    rows = [{"question": f"Make {a + b} from {a} and {b}.", "choices": [f" {a} + {b}", f" {a} - {b}", f" {b} + {b}"], "answer": 0,
             "target": f"{a} + {b}"} for a, b in SUMS]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = f"""
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/sums.jsonl}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
    (folder / "choice.yaml").write_text(f"""task: r1_choice
output_type: multiple_choice
{common}doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}]
""")
    (folder / "text.yaml").write_text(f"""task: r1_text
output_type: generate_until
{common}doc_to_target: target
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: 300, temperature: 0, do_sample: false}}
metric_list: [{{metric: exact_match}}]
""")


def evaluate(model, arguments, task, folder, **more):
    got = lm_eval.simple_evaluate(model=model, model_args=arguments, tasks=[task], task_manager=TaskManager(include_path=str(folder)),
                                  log_samples=True, bootstrap_iters=0, **more)
    samples = sorted(got["samples"][task], key=lambda sample: sample["doc_id"])
    assert len(samples) == len(SUMS), len(samples)
    return got["results"][task], samples


def scored(program, model, rows, folder):
    """The sums of the log-probs of `r1 score`."""
    source, out = folder / "score.jsonl", folder / "scored.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    subprocess.run([program, "score", model, "--input", source, "--logprobs", out], check=True, capture_output=True)
    return [math.fsum(map(float.fromhex, json.loads(line)["logprobs"])) for line in out.read_text().splitlines()]


def log_likelihoods(program, model, url, name, folder):
    arguments = {"model": name, "base_url": f"{url}/v1/completions", "tokenizer": model, "tokenizer_backend": "huggingface",
                 "tokenized_requests": True, "num_concurrent": 4, "max_retries": 1}
    _, samples = evaluate("local-completions", arguments, "r1_choice", folder)
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows, got = [], []
    for sample in samples:
        for (context, continuation), (likelihood, is_greedy) in zip([a for a in arguments_of(sample)], sample["filtered_resps"]):
            assert is_greedy in (True, False)
            begin = tokenizer(context, add_special_tokens=False)["input_ids"]
            whole = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
            rows.append({"tokens": whole, "from": len(begin)})
            got.append(float(likelihood))
    want = scored(program, model, rows, folder)
    assert len(want) == 3 * len(SUMS)
    for row, a, b in zip(rows, got, want):
        assert math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6), (row, a, b)
    print(f"lm_eval_client: {len(want)} log-likelihoods of local-completions are those of r1 score")


def arguments_of(sample):
    held = sample["arguments"]  # a list of pairs, or of {"arg_0", "arg_1"} by name, as versions have it
    values = held.values() if isinstance(held, dict) else held
    return [tuple(one.values()) if isinstance(one, dict) else tuple(one) for one in values]


def texts(server, name, model, folder):
    arguments = {"model": name, "base_url": f"{server.url}/v1/completions", "tokenizer": model, "tokenizer_backend": "huggingface",
                 "num_concurrent": 2, "max_retries": 1}
    _, raw = evaluate("local-completions", arguments, "r1_text", folder)
    assert any(sample["filtered_resps"][0] for sample in raw), raw
    arguments = {"model": name, "base_url": f"{server.url}/v1/chat/completions", "num_concurrent": 2, "max_retries": 1}
    results, chats = evaluate("local-chat-completions", arguments, "r1_text", folder, apply_chat_template=True)
    for sample in chats:
        # The harness got the texts that any client gets.
        body = {"model": name, "messages": [{"role": "user", "content": sample["doc"]["question"]}], "temperature": 0,
                "max_tokens": 300, "stop": ["\n\n"], "seed": 1234}
        content = server.ask("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        assert sample["filtered_resps"][0].strip() == content.strip(), (sample["filtered_resps"], content)
    print(f"lm_eval_client: {len(raw)} texts of local-completions, {len(chats)} of local-chat-completions; {results}")


def main():
    program, model = sys.argv[1], str(pathlib.Path(sys.argv[2]).resolve())
    with tempfile.TemporaryDirectory() as name, R1Server(program, model) as server:
        folder = pathlib.Path(name)
        write_tasks(folder)
        log_likelihoods(program, model, server.url, server.model, folder)
        texts(server, server.model, model, folder)
    print("lm_eval_client: passed")


if __name__ == "__main__":
    main()
