"""What the browser tests share: servers, a slow connection, pages that record what they did."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

MODEL = "models/r1-nano"
PATIENCE_MS = 60_000  # no test waits so long unless it fails


class Server:
    """`r1 serve` on a free port."""

    def __init__(self, program, *options, model=MODEL):
        self.process = subprocess.Popen(
            [program, "serve", model, "--port", "0", "--json", *options],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        assert line, "r1 serve did not start"
        self.url = json.loads(line)["url"]
        self.port = json.loads(line)["port"]

    def ask(self, path, body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **(headers or {})})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Connection:
    """A TCP relay to a server, on a port of its own: it can be slow, wait, and break."""

    def __init__(self, port):
        self.target = port
        self.delay = 0.0  # seconds before each packet of the server
        self.allowed = None  # bytes of the server that pass before the connection waits; None: all
        self.is_for_posts = False  # only connections that a POST has come through wait
        self.bytes_left = None  # of the server's, after which every connection breaks
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.down:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            posts = []  # is not empty once a POST has come through
            threading.Thread(target=self._relay, args=(client, server, False, posts), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, True, posts), daemon=True).start()

    def _relay(self, source, sink, is_answer, posts):
        try:
            while data := source.recv(256 if is_answer and self.delay else 65536):
                if self.down:
                    break
                if not is_answer and data.startswith(b"POST"):
                    posts.append(True)
                if is_answer and self.delay:
                    time.sleep(self.delay)
                if is_answer and self.bytes_left is not None:
                    data = data[: self.bytes_left]
                    self.bytes_left -= len(data)
                self._send(sink, data, is_answer and (not self.is_for_posts or bool(posts)))
                if is_answer and self.bytes_left == 0:
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


    def _send(self, sink, data, may_wait):
        while data:
            part = data
            if may_wait and self.allowed is not None:
                part = data[: self.allowed]
                self.allowed -= len(part)
            if part:
                sink.sendall(part)
            else:
                time.sleep(0.01)
            data = data[len(part):]


# Records what a screen reader is told and whether thoughts are open while they are written.
RECORD = """
  window.said = []; window.thoughts = [];
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver((changes) => {
      for (const change of changes)
        for (const node of change.addedNodes)
          if (node.parentElement?.id === 'status') said.push(node.textContent);
      const thought = [...document.querySelectorAll('details.thought')].at(-1);
      if (thought) thoughts.push([thought.classList.contains('live'), thought.open, thought.innerText]);
    }).observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
  });
"""


class Browser:
    def __init__(self, playwright):
        self.chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

    def page(self, url, width=1100, height=760, **options):
        """A page of a browser that has never been here. It fails the test if it asks another host or reports an error."""
        context = self.chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
        context.add_init_script(RECORD)
        return self.tab(context, url)

    def tab(self, context, url):
        """Another tab of the same browser."""
        origin = url.split("/#")[0]
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.faults = []
        page.expected = []  # patterns of console errors that the test causes
        page.on("request", lambda request: page.faults.append(f"asked {request.url}")
                if not request.url.startswith((origin + "/", f"blob:{origin}/")) else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: page.faults.append(message.text)
                if message.type in ("error", "warning") else None)
        self.open(page, url)
        return page

    @staticmethod
    def open(page, url):
        page.goto(url)
        page.wait_for_selector("#ready", state="attached")

    @staticmethod
    def close(page):
        faults = [fault for tab in page.context.pages for fault in tab.faults
                  if not any(re.search(p, fault) for p in tab.expected)]
        assert not faults, faults
        page.context.close()


def wait_for(page, condition):
    """Waits until an expression, or what a function returns or promises, is true. The page's policy allows no eval(), which Playwright's
    wait_for_function needs."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < until, f"this does not come true: {condition}"
        page.wait_for_timeout(50)


def set_settings(page, **values):
    page.click("#settings-button")
    for name, value in values.items():
        field = page.locator(f"#settings [name={name}]")
        if name in ("effort", "theme"):
            field.select_option(value)
        else:
            field.fill(str(value))
    page.click("#settings button[type=submit]")


def ask(page, text):
    """Sends a message and waits for the end of its answer."""
    page.fill("#message", text)
    page.keyboard.press("Enter")
    wait_for_end(page)


def wait_for_end(page):
    page.wait_for_selector("#stop", state="hidden")
    page.wait_for_selector("#send", state="visible")


def answers(page):
    return page.locator(".message.assistant")


def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
