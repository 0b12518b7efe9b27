"""Fifty reasoning calls that fix a failing test, through the openai package and `r1 serve`.

  fix.py [--url http://127.0.0.1:8000/v1] [--project DIR] [--price-per-hour 0.50]

The project's test fails because its puzzles have no solutions. The script asks the model for all of them at the same time, checks each answer
with the project's own code, asks again for those that are wrong, and runs the test. It ends with what the calls used: tokens, seconds, and
dollars at the price of the machine's hour. The exit status is 0 if the test passes.
"""

import argparse
import asyncio
import importlib.util
import pathlib
import re
import subprocess
import sys
import time

import openai

ROUNDS = 30
sys.dont_write_bytecode = True  # nothing but solutions.json changes in the project


def load_project(folder):
    spec = importlib.util.spec_from_file_location("puzzles", folder / "puzzles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_test(folder):
    done = subprocess.run([sys.executable, "-B", "-m", "unittest", "-q"], cwd=folder, capture_output=True, text=True)
    return done.returncode == 0, done.stderr.strip().splitlines()[-1]


async def ask(client, model, puzzle, seed, used):
    *first, last = puzzle["numbers"]
    question = f"Make {puzzle['target']} from {', '.join(map(str, first))} and {last}."
    got = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], seed=seed, max_completion_tokens=200)
    used["calls"] += 1
    used["read"] += got.usage.prompt_tokens
    used["written"] += got.usage.completion_tokens
    used["thought"] += got.usage.completion_tokens_details.reasoning_tokens
    found = re.search(r"<answer>(.*?)</answer>", got.choices[0].message.content or "", re.DOTALL)
    return found[1].strip() if found else (got.choices[0].message.content or "").strip()


async def solve(client, model, project, puzzles, used):
    """Asks until every puzzle is solved. The seeds make a second run give the same answers."""
    for attempt in range(ROUNDS):
        open_ones = [puzzle for puzzle in puzzles if project.mistake(puzzle)]
        if not open_ones:
            return
        answers = await asyncio.gather(*(ask(client, model, puzzle, attempt, used) for puzzle in open_ones))
        for puzzle, answer in zip(open_ones, answers):
            if not project.mistake({**puzzle, "solution": answer}):
                puzzle["solution"] = answer
        right = sum(bool(puzzle["solution"]) for puzzle in puzzles)
        print(f"round {attempt + 1}: {len(open_ones)} calls, {right} of {len(puzzles)} puzzles are solved")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--project", type=pathlib.Path, default=pathlib.Path(__file__).with_name("project"))
    parser.add_argument("--price-per-hour", type=float, default=0.50)
    parser.add_argument("--api-key", default="none")
    options = parser.parse_args()
    project = load_project(options.project)
    passes, summary = run_test(options.project)
    print(f"before: {'the test passes' if passes else f'the test fails ({summary})'}")
    puzzles = project.load()
    used = {"calls": 0, "read": 0, "written": 0, "thought": 0}
    began = time.monotonic()
    async with openai.AsyncOpenAI(base_url=options.url, api_key=options.api_key, max_retries=5, timeout=600) as client:
        model = (await client.models.list()).data[0].id
        await solve(client, model, project, puzzles, used)
    seconds = time.monotonic() - began
    project.save(puzzles)
    passes, summary = run_test(options.project)
    print(f"after: {'the test passes' if passes else f'the test fails ({summary})'}")
    dollars = seconds / 3600 * options.price_per_hour
    print(f"{used['calls']} calls, {used['read']} tokens read, {used['written']} written ({used['thought']} of thoughts), {seconds:.1f} s, "
          f"${dollars:.6f} at ${options.price_per_hour:.2f} per machine hour")
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
