"""Pulls with r1 what huggingface_hub then finds, and the other way round, from a small hub on this machine.

    hub_peer.py R1 MODEL_DIRECTORY WORK_FOLDER         (scripts/hub_peer.sh runs it)
"""
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

R1, MODEL, WORK = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
REPO, COMMIT = "r1-tests/model", "a" * 39 + "1"
WANTED = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
FILES = {name: (MODEL / name).read_bytes() for name in WANTED if (MODEL / name).exists()}
LARGE = {"model.safetensors"}


def sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(name):
    return hashlib.sha256(FILES[name]).hexdigest() if name in LARGE else sha1(FILES[name])


def info():
    siblings = []
    for name, data in FILES.items():
        entry = {"rfilename": name, "size": len(data), "blobId": sha1(data)}
        if name in LARGE:
            entry["lfs"] = {"sha256": etag(name), "size": len(data), "pointerSize": 134}
        siblings.append(entry)
    return {"_id": "1", "id": REPO, "modelId": REPO, "author": "r1-tests", "sha": COMMIT, "private": False, "gated": False,
            "disabled": False, "downloads": 0, "likes": 0, "tags": [], "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z", "siblings": siblings}


def tree():
    entries = []
    for name, data in FILES.items():
        entry = {"type": "file", "path": name, "size": len(data), "oid": sha1(data)}
        if name in LARGE:
            entry["lfs"] = {"oid": etag(name), "size": len(data), "pointerSize": 134}
        entries.append(entry)
    return entries


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cut = 0  # answers of the large file that end after a part

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{REPO}/tree/"):
            return self.answer(200, json.dumps(tree()).encode(), Content_Type="application/json")
        if path.startswith(f"/api/models/{REPO}"):
            return self.answer(200, json.dumps(info()).encode(), Content_Type="application/json")
        name = path.removeprefix(f"/{REPO}/resolve/").partition("/")[2]
        if name not in FILES:
            return self.answer(404, X_Error_Code="EntryNotFound")
        data, headers = FILES[name], {"ETag": f'"{etag(name)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in LARGE:
            headers |= {"X-Linked-Etag": f'"{etag(name)}"', "X-Linked-Size": str(len(data))}
        status, wanted = 200, self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last or len(data) - 1), len(data) - 1)
            status, data, headers["Content-Range"] = 206, data[int(first):end + 1], f"bytes {first}-{end}/{len(data)}"
        if name in LARGE and Hub.cut > 0 and self.command == "GET":
            Hub.cut -= 1
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:len(data) // 3])
            self.close_connection = True
            return None
        return self.answer(status, data, **{k.replace("-", "_"): v for k, v in headers.items()})

    do_HEAD = do_GET


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
ENDPOINT = f"http://127.0.0.1:{server.server_address[1]}"


def environment(home):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE"))}
    return kept | {"HF_ENDPOINT": ENDPOINT, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def run_r1(home, *words, **extra):
    return subprocess.run([R1, *words], env=environment(home) | extra, check=True, capture_output=True, text=True).stdout.strip()


def run_python(home, program, **extra):
    done = subprocess.run([sys.executable, "-c", program], env=environment(home) | extra, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"huggingface_hub failed:\n{done.stderr}")
    return done.stdout.strip()


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}")


SNAPSHOT = f"import huggingface_hub as h; print(h.snapshot_download({REPO!r}))"

# 1. r1 pulls; huggingface_hub finds every file offline, and its report of the cache has no warnings.
first = WORK / "first"
Hub.cut = 2
path = run_r1(first, "pull", REPO)
found = run_python(first, SNAPSHOT, HF_HUB_OFFLINE="1")
check(found == path, f"huggingface_hub {run_python(first, 'import huggingface_hub as h; print(h.__version__)')} finds what r1 pulled over cut connections")
report = run_python(first, "import huggingface_hub as h; i = h.scan_cache_dir(); r = next(iter(i.repos)); "
                           "print(len(i.warnings), r.repo_id, len(next(iter(r.revisions)).files), r.size_on_disk)")
check(report == f"0 {REPO} {len(FILES)} {sum(map(len, FILES.values()))}", f"its report of the cache agrees ({report})")
before = {p: p.stat().st_mtime_ns for p in (first / "hub").rglob("blobs/*")}
run_python(first, SNAPSHOT)
check(before == {p: p.stat().st_mtime_ns for p in (first / "hub").rglob("blobs/*")}, "online, it downloads nothing again")
check(all(hashlib.sha256(pathlib.Path(path, n).read_bytes()).digest() == hashlib.sha256(d).digest() for n, d in FILES.items()),
      "the bytes are the hub's")

# 2. huggingface_hub downloads; r1 finds it, lists it, runs it, and pulls nothing again.
second = WORK / "second"
theirs = run_python(second, SNAPSHOT)
check(run_r1(second, "pull", REPO, HF_HUB_OFFLINE="1") == theirs, "r1 finds what huggingface_hub downloaded")
check(json.loads(run_r1(second, "pull", REPO, "--json"))["downloaded"] == 0, "online, r1 downloads nothing again")
listed = json.loads(run_r1(second, "list", "--json"))["models"]
check([m["model"] for m in listed] == [REPO] and "run" in listed[0]["can"], "r1 lists it")
check(run_r1(second, "run", REPO, "-p", "hello", "--max-tokens", "4", "--temperature", "0") is not None, "r1 runs it")

# 3. A download that one of them began goes on with the other.
third = WORK / "third"
(third / "hub" / "models--r1-tests--model" / "blobs").mkdir(parents=True)
name = etag("model.safetensors")
data = FILES["model.safetensors"]
(third / "hub" / "models--r1-tests--model" / "blobs" / f"{name}.incomplete").write_bytes(data[:len(data) // 2])
pulled = json.loads(run_r1(third, "pull", REPO, "--json"))
came = next(f["downloaded"] for f in pulled["files"] if f["path"] == "model.safetensors")
check(came == len(data) - len(data) // 2, "r1 goes on with an incomplete file")
run_r1(third, "rm", REPO, "--yes")
check(not (third / "hub" / "models--r1-tests--model").exists(), "r1 rm leaves nothing")
print("r1 and huggingface_hub share one cache")
