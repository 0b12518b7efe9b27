"""Countdown puzzles: an expression of given numbers must have a given value."""

import ast
import json
import pathlib
from collections import Counter
from fractions import Fraction

FILE = pathlib.Path(__file__).with_name("solutions.json")


def load():
    """The puzzles: [{"numbers": [int], "target": int, "solution": "expression"}]."""
    return json.loads(FILE.read_text())


def save(puzzles):
    rows = ",\n".join(" " + json.dumps(puzzle) for puzzle in puzzles)
    FILE.write_text(f"[\n{rows}\n]\n")


def mistake(puzzle):
    """Says what is wrong with a puzzle's solution, or "" if it is right."""
    used = []

    def value(node):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.BinOp):
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Add):
                return left + right
            if isinstance(node.op, ast.Sub):
                return left - right
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.Div):
                return left / right
        raise ValueError("not an expression of numbers, + - * /")

    try:
        result = value(ast.parse(puzzle["solution"], mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError) as error:
        return f"{puzzle['solution']!r}: {error}"
    if Counter(used) != Counter(puzzle["numbers"]):
        return f"{puzzle['solution']} does not use each of {puzzle['numbers']} once"
    return "" if result == puzzle["target"] else f"{puzzle['solution']} is {result}, not {puzzle['target']}"
