"""Writes tests/golden/text/generation.json: hashes of what transformers renders of the rows of
templates/renderings.jsonl whose template has {% generation %}, which plain Jinja does not know: there they have the
error of an unknown tag.

Usage: python tests/ref/generation_golden.py DATA     (DATA: the folder with templates/; Jinja2 3.1.6, transformers 5.24)
"""
import hashlib
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

folder = pathlib.Path(sys.argv[1]) / "templates"
rows = []
for line in (folder / "renderings.jsonl").open():
    row = json.loads(line)
    if "unknown tag 'generation'" not in (row["error"] or ""):
        continue
    out = dict(template=row["template"], conversation=row["conversation"])
    names = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token")
    try:
        template = _compile_jinja_template((folder / row["template"]).read_text())
        text = template.render(documents=None, **{name: row[name] for name in names})
        out["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    except Exception as error:  # noqa: BLE001: every kind counts
        out["error"] = f"{type(error).__name__}: {error}"
    rows.append(out)
out = pathlib.Path(__file__).parent.parent / "golden" / "text" / "generation.json"
out.write_text("[" + ",\n".join(json.dumps(row) for row in rows) + "]\n")
