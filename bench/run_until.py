#!/usr/bin/env python3
"""Runs a training command and stops it in good order (SIGINT) when time is over or when a metric has reached a value.

    bench/run_until.py [--end SECONDS] [--metrics FILE --key KEY --value X] -- COMMAND...

--end is a time as `date +%s` prints it; 0 means no end. --metrics is a metrics.jsonl, which is read while the command runs.
A command that saves on SIGINT, as r1 does, can be resumed. Exit status: 0, it ended by itself, or was stopped because KEY reached X; 3, it
was stopped because time was over (also if it was too late to begin); else the command's own.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time


def reached(path, key, value):
    """True if a whole row of the file has the value. Metrics files are small: they are read from the start."""
    if not path or not os.path.exists(path):
        return False
    with open(path) as file:
        return any(json.loads(line).get(key, value - 1) >= value for line in file if line.endswith("\n") and key in line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--end", type=float, default=0)
    parser.add_argument("--metrics", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--value", type=float, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("the command is missing")
    late = lambda: args.end > 0 and time.time() >= args.end
    there = lambda: reached(args.metrics, args.key, args.value)
    if there():
        return 0
    if late():
        return 3
    process = subprocess.Popen(command)
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever stops this stops the command
        signal.signal(number, lambda n, frame: process.send_signal(n))
    stopped = 0
    while process.poll() is None:
        if there():
            stopped = "reached"
        elif late():
            stopped = "late"
        if stopped:
            process.send_signal(signal.SIGINT)
            process.wait()
            break
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            pass
    if process.returncode == 0 or (stopped == "reached" and process.returncode in (130, -signal.SIGINT)):
        return 0
    if stopped == "late" and process.returncode in (130, -signal.SIGINT):
        return 3
    return process.returncode if process.returncode > 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main())
