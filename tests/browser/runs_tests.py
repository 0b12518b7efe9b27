"""The Runs view, with a training that goes on while the page looks at it."""

import json
import subprocess

from browser_util import Browser, wait_for, write
from chat_tests import no_serious_fault, screenshot

CONFIG = "recipes/r1-nano-zero.toml"


def watches_a_training(setup):
    page = setup["browser"].page(setup["server"].url)
    page.click("a[href='#runs']")
    page.wait_for_selector("#runs-content:has-text('There is no run')")
    training = subprocess.Popen(
        [setup["program"], "grpo", CONFIG, "--out", str(setup["runs"] / "zero"), "--set", "optimizer.steps=6",
         "--set", "rollout.prompts=8", "--set", "rollout.group=8", "--set", "log.samples_every=1", "--force"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Without a reload.
        page.wait_for_selector("#runs-content a:has-text('zero')")
        page.click("#runs-content a:has-text('zero')")
        page.wait_for_selector("figure.chart:has-text('reward') svg path")
        wait_for(page, "document.querySelector('progress')?.value >= 2")
        assert training.wait() == 0
    finally:
        training.kill()
        training.wait()
    page.wait_for_selector(".state.done")
    wait_for(page, "document.querySelector('progress').value === 6")
    rows = [json.loads(line) for line in (setup["runs"] / "zero/metrics.jsonl").read_text().splitlines()]
    # The table of a curve has its figures.
    chart = page.locator("figure.chart", has_text="reward").first
    chart.locator("summary").click()
    figures = chart.locator("tbody td").all_inner_texts()
    assert [float(text) for text in figures] == [float(f"{row['reward']:.4g}") for row in rows], figures
    label = chart.locator("svg").get_attribute("aria-label")
    assert label.startswith("reward: ") and label.endswith("."), label
    # Answers with their verdicts, the newest first.
    samples = [json.loads(line) for line in (setup["runs"] / "zero/samples.jsonl").read_text().splitlines()]
    page.wait_for_selector(".rollouts li")
    assert page.locator(".rollouts li").count() == 50
    first = page.locator(".rollouts li").first
    first.locator("summary").click()
    newest = samples[-1]
    assert newest["question"] in first.inner_text() and ("right" if newest["correct"] else "wrong") in first.inner_text()
    assert first.locator("pre.answer").text_content() in newest["text"]
    page.click("button:has-text('Earlier answers')")
    wait_for(page, "document.querySelectorAll('.rollouts li').length === 100")
    page.get_by_label("Verdict").select_option("right")
    right = sum(sample["correct"] for sample in samples)
    wait_for(page, f"document.querySelectorAll('.rollouts li').length === {min(right, 50)}")
    assert page.locator(".verdict.wrong").count() == 0
    no_serious_fault(page, "a run")
    page.evaluate("scrollTo(0, 0)")
    screenshot(setup, page, "page-runs")
    Browser.close(page)


def shows_runs_by_keyboard_on_a_phone_and_in_the_dark(setup):
    long = setup["runs"] / "long"
    rows = [{"step": i, "reward": 0.2 + 0.6 * i / (i + 120), "accuracy": 0.2 + 0.55 * i / (i + 130), "length": 40 + i ** 0.6,
             "kl": 0.0, "loss": -0.01, "grad_norm": 0.15, "entropy": 0.5, "wall_s": 1.5 * i, "tokens": 9000 * i, "train_s": 1.0,
             **({"eval.held.pass_at_1": 0.3 + i / 1000, "eval.held.low": 0.25 + i / 1000, "eval.held.high": 0.35 + i / 1000} if i % 50 == 0 else {})}
            for i in range(1, 401)]
    write(long / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(long / "run.json", json.dumps({"kind": "grpo", "numerics": "cpu-f32", "settings": {"optimizer.steps": 1000}}))
    page = setup["browser"].page(setup["server"].url + "/#runs", width=360, height=720, color_scheme="dark")
    page.wait_for_selector("#runs-content a:has-text('long')")
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits), "the list is wider than a phone"
    no_serious_fault(page, "the list of runs")
    page.focus("#runs-content a:has-text('long')")
    page.keyboard.press("Enter")
    page.wait_for_selector("figure.chart:has-text('eval.held.pass_at_1')")
    assert page.evaluate(fits), "a run is wider than a phone"
    assert "0 in every row: kl." in page.inner_text("#runs-content")
    assert "400 of 1000" in page.inner_text(".facts") and "about 15 min" in page.inner_text(".facts")
    assert page.locator("figure.chart", has_text="eval.held.pass_at_1").locator("circle").count() == 8
    no_serious_fault(page, "a run in the dark")
    page.focus("figure.chart summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("figure.chart details[open] table")
    Browser.close(page)


def hostile_runs_do_nothing(setup):
    evil = "<img src=x onerror=alert(1)>"
    run = setup["runs"] / "evil&<b>"
    write(run / "metrics.jsonl", "".join(json.dumps({"step": i, evil: i, "reward": "high", "__proto__": i, "constructor": 3}) + "\n" for i in range(3)))
    write(run / "run.json", json.dumps({"kind": evil, "numerics": evil, "settings": {evil: evil}}))
    write(run / "samples.jsonl", json.dumps({"correct": False, "question": evil, "text": evil, "why": evil, "task": evil, "status": evil}) + "\n")
    page = setup["browser"].page(setup["server"].url + "/#runs")
    page.click("#runs-content a:has-text('evil')")
    page.wait_for_selector(f"figure.chart:has-text('{evil}')")
    page.click(".rollouts summary")
    page.wait_for_selector(f".rollouts pre:has-text('{evil}')")
    assert page.locator("main img").count() == 0
    # A run that is not there.
    page.expected = ["404"]
    page.evaluate("location.hash = '#runs/0/..%2f..%2fetc'")
    page.wait_for_selector("#runs-error:has-text('there is no run')")
    Browser.close(page)


TESTS = [watches_a_training, shows_runs_by_keyboard_on_a_phone_and_in_the_dark, hostile_runs_do_nothing]
