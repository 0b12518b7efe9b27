"""The page of `r1 serve` in headless Chromium, against a real server with r1-nano.

  page_test.py R1_PROGRAM [--only NAME] [--screenshots DIR]
"""

import argparse
import os
import pathlib
import sys
import tempfile
import traceback

from playwright.sync_api import sync_playwright

import chat_tests
import markdown_tests
import runs_tests
from browser_util import Browser, Server

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--only", default="")
    parser.add_argument("--screenshots", type=pathlib.Path)
    options = parser.parse_args()
    tests = [test for module in (chat_tests, markdown_tests, runs_tests) for test in module.TESTS
             if options.only in test.__name__]
    assert tests, f"no test's name has {options.only}"
    failed = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        runs = pathlib.Path(folder) / "runs"
        runs.mkdir()
        server = Server(options.program, "--runs", str(runs))
        browser = Browser(playwright)
        setup = {"program": options.program, "server": server, "browser": browser, "runs": runs,
                 "folder": pathlib.Path(folder), "screenshots": options.screenshots,
                 "smollm2": os.environ.get("R1_SMOLLM2_GGUF")}
        for test in tests:
            try:
                test(setup)
                print(f"passed  {test.__name__}", flush=True)
            except Exception:
                traceback.print_exc()
                print(f"FAILED  {test.__name__}", flush=True)
                failed.append(test.__name__)
            for context in browser.chromium.contexts:
                context.close()
        server.stop()
    print(f"{len(tests) - len(failed)} browser tests passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
