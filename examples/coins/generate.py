#!/usr/bin/env python3
"""Writes the data of the example: corpus.jsonl, problems.jsonl and held_out.jsonl, in the current folder.

The task: pay an amount exactly with coins of given values, each as often as needed.

corpus.jsonl holds what the model reads before it learns by reinforcement: worked attempts. Each attempt adds random coins until the
amount is reached ("yes") or passed ("no"). After every attempt, right or wrong, the text stops with probability 1/2 and answers with
that attempt. So the model learns to add coins and to write answers, but not to go on until an answer is right: that is left to
reinforcement learning.

The problems of held_out.jsonl occur in neither of the other files. Everything depends on the seed alone.
"""

import itertools
import json
import random
import sys

DOCUMENTS, HELD_OUT = 40000, 150


def can_pay(amount, coins):
    reachable = {0}
    for total in range(1, amount + 1):
        if any(total - coin in reachable for coin in coins):
            reachable.add(total)
    return amount in reachable


def all_problems():
    return [(amount, coins) for coins in itertools.combinations(range(3, 10), 3) for amount in range(12, 31)
            if can_pay(amount, coins)]


def question_of(amount, coins):
    return f"Pay {amount} with coins of {coins[0]}, {coins[1]} and {coins[2]}."


def attempt(rng, amount, coins):
    used = [rng.choice(coins)]
    line = str(used[0])
    while sum(used) < amount:
        used.append(rng.choice(coins))
        line += f" +{used[-1]}={sum(used)}"
    return used, line + (" yes" if sum(used) == amount else " no")


def thought_and_answer(rng, amount, coins):
    lines = []
    while True:
        used, line = attempt(rng, amount, coins)
        lines.append(line)
        if rng.random() < 0.5 or len(lines) == 6:
            return "\n".join(lines), "+".join(map(str, used))


def write(name, rows):
    with open(name, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def main():
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    problems = all_problems()
    rng.shuffle(problems)
    held_out, known = problems[:HELD_OUT], problems[HELD_OUT:]
    corpus = []
    for _ in range(DOCUMENTS):
        amount, coins = rng.choice(known)
        thought, answer = thought_and_answer(rng, amount, coins)
        corpus.append({"question": question_of(amount, coins),
                       "response": f"<think>{thought}</think><answer>{answer}</answer>"})
    write("corpus.jsonl", corpus)
    for name, part in (("problems.jsonl", known), ("held_out.jsonl", held_out)):
        write(name, [{"question": question_of(*problem)} for problem in part])


main()
