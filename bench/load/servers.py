"""The servers that server_load.py starts, and what their processes use."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """A process that answers on a port. `ready` is a path that has status 200 once the server can answer."""

    def __init__(self, name, command, port, ready, environment=None, patience=300):
        self.name, self.command, self.port = name, [str(word) for word in command], port
        self.log = tempfile.NamedTemporaryFile("w+", prefix="server-load-", suffix=".log")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
                                        env={**os.environ, **(environment or {})}, start_new_session=True)
        until = time.monotonic() + patience
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.stop()
                    raise SystemExit(f"server_load: {name} did not start: {' '.join(self.command)}\n{self.last_lines()}")
                time.sleep(0.2)

    def last_lines(self):
        return "\n".join(pathlib.Path(self.log.name).read_text(errors="replace").splitlines()[-15:])

    def _processes(self):
        """The server and the processes that it has started."""
        found = [self.process.pid]
        for pid in found:
            try:
                found += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                pass
        return found

    def memory(self):
        """Resident bytes."""
        total = 0
        for pid in self._processes():
            try:
                total += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            except OSError:
                pass
        return total

    def cpu_seconds(self):
        total = 0
        for pid in self._processes():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return total / TICKS

    def metrics(self):
        """r1's counters, by name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def stop(self):
        """Ends the server and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        return self.process.returncode


def r1(options, concurrent, extra=()):
    command = [options.r1, "serve", options.model, "--json", "--port", port := free_port(), "--threads", options.threads,
               "--max-batch", max(concurrent, 1), "--max-queue", 1024, "--timeout", 3600, *extra]
    return Server("r1", command, port, "/health")


def llama_native(options, concurrent, extra=()):
    """llama.cpp's own server. It gives each of its slots an equal part of the context."""
    command = [options.llama_server, "-m", options.model, "--port", port := free_port(), "-np", concurrent,
               "-c", concurrent * options.context, "-t", options.threads, "-tb", options.threads, *extra]
    return Server("llama-server", command, port, "/health")


def llama_python(options, concurrent, extra=()):
    """The server of the package llama-cpp-python, which answers one request after another."""
    command = [options.llama_python, "-m", "llama_cpp.server", "--model", options.model, "--port", port := free_port(),
               "--n_ctx", options.context, "--n_threads", options.threads, "--n_threads_batch", options.threads, *extra]
    return Server("llama_cpp.server", command, port, "/v1/models")


def vllm(options, concurrent, extra=()):
    command = [options.vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", options.model, "--port",
               port := free_port(), "--dtype", "bfloat16", "--max-model-len", options.context, "--max-num-seqs", max(concurrent, 1),
               "--served-model-name", "model", *extra]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_CPU_OMP_THREADS_BIND": f"0-{options.threads - 1}", "HF_HUB_OFFLINE": "1",
                   "VLLM_NO_USAGE_STATS": "1"}
    return Server("vllm", command, port, "/health", environment)


def describe(server):
    return json.dumps(server.command)
