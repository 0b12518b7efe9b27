"""examples/fifty-calls against `r1 serve`: it mends its project, twice with the same answers.

  fifty_calls.py R1_PROGRAM MODEL
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples/fifty-calls"


def run(url, folder):
    project = folder / "project"
    shutil.copytree(EXAMPLE / "project", project)
    done = subprocess.run([sys.executable, EXAMPLE / "fix.py", "--url", url + "/v1", "--project", project],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("before: the test fails") and lines[-2] == "after: the test passes", done.stdout
    used = re.fullmatch(r"(\d+ calls, \d+ tokens read, \d+ written \(\d+ of thoughts\)), [\d.]+ s, \$[\d.]+ at \$0.50 per machine hour", lines[-1])
    assert used and int(lines[-1].split()[0]) >= 50, lines[-1]
    return used[1], (project / "solutions.json").read_text()


def main():
    program, model = sys.argv[1:]
    server = subprocess.Popen([program, "serve", model, "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"]
        results = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                results.append(run(url, pathlib.Path(folder)))
        assert results[0] == results[1], "the second run gave other answers"
        print(f"examples/fifty-calls: {results[0][0]}, twice the same")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
