"""Chat: streaming, folding, stopping, editing, several conversations, errors, phones, keyboards, screen readers."""

import json
import re

from axe_playwright_python.sync_playwright import Axe

from browser_util import (Browser, Connection, Server, answers, ask, set_settings, wait_for, wait_for_end, write)

QUESTION = "Make 24 from 12, 11 and 47."


def no_serious_fault(page, where):
    found = Axe().run(page).response["violations"]
    faults = [f"{v['id']} ({v['impact']}): {v['help']}: {[n['target'] for n in v['nodes']][:3]}"
              for v in found if v["impact"] in ("serious", "critical")]
    assert not faults, f"{where}: {faults}"


def screenshot(setup, page, name):
    if setup["screenshots"]:
        setup["screenshots"].mkdir(parents=True, exist_ok=True)
        page.screenshot(path=setup["screenshots"] / f"{name}.png")


def expected_answer(setup, seed):
    got = setup["server"].ask("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}], "seed": seed})
    return got["choices"][0]["message"], got["usage"]


def streams_a_thought_that_folds(setup):
    message, usage = expected_answer(setup, 7)
    slow = Connection(setup["server"].port)
    page = setup["browser"].page(slow.url)
    set_settings(page, seed=7, price=3.6)
    slow.allowed = 3000
    page.fill("#message", QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector("details.thought.live[open] .text:not(:empty)")
    screenshot(setup, page, "page-thinking")
    begun = page.locator("details.thought .text").text_content()
    slow.allowed = 1500
    wait_for(page, f"document.querySelector('details.thought.live .text').textContent.length > {len(begun)}")
    assert message["reasoning_content"].startswith(begun)
    slow.allowed = None
    wait_for_end(page)
    thought = page.locator("details.thought")
    assert thought.get_attribute("open") is None, "the thought is still open"
    assert re.fullmatch(r"Thought for .*", thought.locator("summary").inner_text())
    assert thought.locator(".text").text_content() == message["reasoning_content"]
    assert answers(page).locator(".markdown").inner_text().strip() == message["content"]
    assert all(is_open for live, is_open, text in page.evaluate("thoughts") if live and text), "a thought was folded too early"
    stats = answers(page).locator(".stats").inner_text()
    assert f"{usage['completion_tokens']} tokens" in stats and "tokens/s" in stats and "$" in stats, stats
    assert f"prompt {usage['prompt_tokens']}" in stats and "seed 7" in stats, stats
    # A person opens it again.
    thought.locator("summary").click()
    assert thought.get_attribute("open") is not None
    screenshot(setup, page, "page-chat")
    Browser.close(page)


def says_whole_sentences_to_a_screen_reader(setup):
    slow = Connection(setup["server"].port)
    page = setup["browser"].page(slow.url)
    set_settings(page, seed=7)
    slow.delay = 0.01
    ask(page, QUESTION)
    saved, *said = page.evaluate("said")
    assert saved == "The settings are saved." and said[0] == "The model is thinking." and said[-1] == "The answer is complete.", said
    assert any(text.startswith("Thought for") for text in said), said
    written = answers(page).locator(".markdown").inner_text()
    assert "".join(said[2:-1]).split() == written.split(), (said, written)
    assert len(said) < 8, said  # not one per token
    assert page.get_attribute("#status", "aria-live") == "polite"
    Browser.close(page)


def stops_by_escape_and_by_the_button(setup):
    slow = Connection(setup["server"].port)
    page = setup["browser"].page(slow.url)
    for stop in (lambda: page.keyboard.press("Escape"), lambda: page.click("#stop")):
        slow.allowed = 3000
        page.fill("#message", QUESTION)
        page.keyboard.press("Enter")
        page.wait_for_selector("li:last-child details.thought.live .text:not(:empty)")
        stop()
        wait_for_end(page)
        slow.allowed = None
        last = answers(page).last
        assert last.locator(".notice").inner_text() == "Stopped."
        assert last.locator("details.thought .text").text_content() != ""
    Browser.close(page)


def regenerates_and_edits(setup):
    page = setup["browser"].page(setup["server"].url)
    set_settings(page, seed=7)
    ask(page, QUESTION)
    ask(page, "Make 5 from 2 and 3.")
    first = answers(page).first.inner_text()
    assert answers(page).count() == 2
    assert page.locator("button:visible", has_text="Regenerate").count() == 1, "only the last answer can be made again"
    page.click("button:visible:has-text('Regenerate')")
    wait_for_end(page)
    assert answers(page).count() == 2
    # Another question in the first message's place; what followed is gone.
    page.locator(".message.user").first.locator("button", has_text="Edit").click()
    editor = page.locator(".message.user textarea")
    assert editor.input_value() == QUESTION
    page.keyboard.press("Escape")
    assert answers(page).count() == 2, "Escape keeps the message"
    page.locator(".message.user").first.locator("button", has_text="Edit").click()
    editor.fill("Make 40 from 30 and 10.")
    page.keyboard.press("Control+Enter")
    wait_for_end(page)
    assert answers(page).count() == 1 and page.locator(".message.user").count() == 1
    assert answers(page).first.inner_text() != first
    Browser.close(page)


def an_answer_that_is_left_for_another_conversation_is_stopped(setup):
    slow = Connection(setup["server"].port)
    page = setup["browser"].page(slow.url)
    set_settings(page, seed=7)
    slow.allowed = 3000
    page.fill("#message", QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector("details.thought.live .text:not(:empty)")
    page.click("#new-conversation")
    wait_for_end(page)
    slow.allowed = None
    ask(page, "Make 5 from 2 and 3.")
    assert answers(page).count() == 1, answers(page).count()
    assert answers(page).locator("details.thought .text").text_content()
    page.locator("#conversation-list .open-button", has_text="24").click()
    assert answers(page).locator(".notice").inner_text() == "Stopped."
    Browser.close(page)


def keeps_conversations_over_a_reload(setup):
    page = setup["browser"].page(setup["server"].url)
    ask(page, QUESTION)
    page.click("#new-conversation")
    ask(page, "Make 5 from 2 and 3.")
    kept = page.locator("#messages").inner_text()
    Browser.open(page, setup["server"].url)
    assert page.locator("#messages").inner_text() == kept
    items = page.locator("#conversation-list .open-button")
    assert items.all_inner_texts() == ["Make 5 from 2 and 3.", QUESTION]
    items.nth(1).click()
    wait_for(page, "document.querySelector('#chat-title').textContent.includes('24')")
    assert answers(page).count() == 1
    # Rename.
    page.locator("#conversation-list summary").nth(1).click()
    page.locator(".more[open] button", has_text="Rename").click()
    page.keyboard.type("The first one")
    page.keyboard.press("Enter")
    wait_for(page, "document.querySelector('#chat-title').textContent === 'The first one'")
    # Export, delete, import.
    with page.expect_download() as download:
        page.click("#export-all")
    path = setup["folder"] / "export.json"
    download.value.save_as(path)
    exported = json.loads(path.read_text())
    assert sorted(c["title"] for c in exported["conversations"]) == ["Make 5 from 2 and 3.", "The first one"]
    assert "key" not in exported
    for _ in range(2):
        count = page.locator("#conversation-list li").count()
        page.locator("#conversation-list summary").first.click()
        page.locator(".more[open] button", has_text="Delete").click()
        page.locator("button.danger").click()
        wait_for(page, f"document.querySelectorAll('#conversation-list li').length === {count - 1}")
    assert page.locator(".message").count() == 0
    page.set_input_files("#import-file", path)
    wait_for(page, "document.querySelectorAll('#conversation-list li').length === 2")
    page.locator("#conversation-list .open-button", has_text="The first one").click()
    assert answers(page).count() == 1
    for text, why in (("{", "The file is not JSON."), ("{}", "format must be"),
                      ('{"format":"r1-conversations","version":2,"conversations":[]}', "version is 2"),
                      ('{"format":"r1-conversations","version":1,"conversations":[{"messages":[{"role":"x"}]}]}',
                       "message (number 1) of an unknown role")):
        write(setup["folder"] / "bad.json", text)
        page.set_input_files("#import-file", setup["folder"] / "bad.json")
        page.wait_for_selector(f"[role=alert]:has-text('{why}')")
    Browser.close(page)


def a_connection_that_breaks_keeps_what_came(setup):
    weak = Connection(setup["server"].port)
    page = setup["browser"].page(weak.url)
    set_settings(page, seed=7)
    page.expected = ["net::ERR", "Failed to load resource"]
    weak.bytes_left = 6000
    page.fill("#message", QUESTION)
    page.keyboard.press("Enter")
    wait_for_end(page)
    notice = answers(page).locator(".notice")
    assert notice.inner_text() == "The connection ended before the answer was complete. What came is kept.", notice.inner_text()
    came = answers(page).locator(".thought .text").text_content()
    assert came
    weak.bytes_left = None
    weak.down = True
    page.click("button:visible:has-text('Try again')")
    wait_for_end(page)
    assert notice.inner_text() == "The server cannot be reached. Check that r1 serve is running."
    weak.down = False
    page.click("button:visible:has-text('Try again')")
    wait_for_end(page)
    assert notice.is_hidden() and answers(page).locator(".markdown").inner_text()
    Browser.close(page)


def a_page_that_is_closed_keeps_what_came(setup):
    slow = Connection(setup["server"].port)
    page = setup["browser"].page(slow.url)
    set_settings(page, seed=7)
    slow.delay = 0.25
    page.fill("#message", QUESTION)
    page.keyboard.press("Enter")
    # Saved at least once since its first words.
    wait_for(page, """async () => {
      const {allConversations} = await import('/page/store.js');
      return (await allConversations())[0]?.messages[1]?.reasoning.length > 5;
    }""")
    slow.delay = 0
    Browser.open(page, slow.url)
    assert answers(page).locator(".notice").inner_text() == \
        "The page was closed before the answer was complete. What came is kept."
    assert answers(page).locator(".thought .text").text_content()
    Browser.close(page)


def a_second_tab_follows_an_answer_and_leaves_it_whole(setup):
    message, _ = expected_answer(setup, 7)
    slow = Connection(setup["server"].port)
    slow.is_for_posts = True
    first = setup["browser"].page(slow.url)
    set_settings(first, seed=7)
    slow.allowed = 3000
    first.fill("#message", QUESTION)
    first.keyboard.press("Enter")
    wait_for(first, """async () => {
      const {allConversations} = await import('/page/store.js');
      return (await allConversations())[0]?.messages[1]?.reasoning.length > 5;
    }""")
    # The second tab shows what came, says who writes it, and offers nothing that would disturb it.
    second = setup["browser"].tab(first.context, slow.url)
    notice = answers(second).locator(".notice")
    assert notice.inner_text() == "Another tab is writing this answer.", notice.inner_text()
    assert answers(second).locator(".thought .text").text_content()
    assert second.locator("button:visible", has_text="Regenerate").count() == 0
    second.fill("#message", "Make 5 from 2 and 3.")
    second.keyboard.press("Enter")
    assert answers(second).count() == 1 and second.input_value("#message") == "Make 5 from 2 and 3."
    assert any("Another tab is writing" in text for text in second.evaluate("said"))
    assert first.locator("details.thought.live").count() == 1, "the first tab goes on"
    slow.allowed = None
    wait_for_end(first)
    for page in (first, second):
        wait_for(page, "document.querySelector('.message.assistant .stats').textContent.includes('tokens')")
        assert answers(page).locator(".markdown").inner_text().strip() == message["content"]
        assert answers(page).locator(".notice").is_hidden(), answers(page).locator(".notice").inner_text()
    # Both see what the other does.
    second.keyboard.press("Enter")
    wait_for_end(second)
    wait_for(first, "document.querySelectorAll('.message.assistant').length === 2")
    assert answers(first).nth(1).locator(".markdown").inner_text() == answers(second).nth(1).locator(".markdown").inner_text()
    # A tab that is closed in the middle of an answer does not write it any more, which the other learns.
    slow.allowed = 1500
    second.fill("#message", QUESTION)
    second.keyboard.press("Enter")
    wait_for(first, "document.querySelectorAll('.message.assistant').length === 3")
    second.close()
    wait_for(first, """document.querySelectorAll('.message.assistant')[2].querySelector('.notice').textContent ===
        'The page was closed before the answer was complete. What came is kept.'""")
    slow.allowed = None
    Browser.close(first)


def a_conversation_that_another_tab_deletes_stays_deleted(setup):
    slow = Connection(setup["server"].port)
    slow.is_for_posts = True
    first = setup["browser"].page(slow.url)
    slow.allowed = 3000
    first.fill("#message", QUESTION)
    first.keyboard.press("Enter")
    first.wait_for_selector("details.thought.live .text:not(:empty)")
    second = setup["browser"].tab(first.context, slow.url)
    second.locator("#conversation-list summary").first.click()
    second.locator(".more[open] button", has_text="Delete").click()
    second.locator("button.danger").click()
    for page in (second, first):
        wait_for(page, "document.querySelectorAll('#conversation-list li').length === 0")
        assert page.locator(".message").count() == 0
    slow.allowed = None
    wait_for_end(first)
    Browser.open(second, slow.url)
    assert second.locator("#conversation-list li").count() == 0
    Browser.close(first)


def says_in_plain_words_what_the_server_refuses(setup):
    write(setup["folder"] / "keys", "the-key\n")
    guarded = Server(setup["program"], "--api-key-file", str(setup["folder"] / "keys"))
    try:
        page = setup["browser"].page(guarded.url)
        page.expected = ["401", "400"]
        assert "asks for an API key" in page.inner_text("#model")
        ask(page, QUESTION)
        assert answers(page).locator(".notice").inner_text().startswith("The server asks for an API key. Enter it in the settings.")
        page.click("a[href='#runs']")
        page.wait_for_selector("#runs-error:has-text('asks for an API key')")
        page.click("a[href='#chat']")
        answers(page).locator(".notice button").click()
        assert page.evaluate("document.activeElement.name") == "key"
        page.keyboard.type("the-key")
        page.fill("#settings [name=seed]", "7")
        page.keyboard.press("Enter")
        wait_for(page, "document.querySelector('#model').textContent === 'r1-nano'")
        page.click("button:visible:has-text('Try again')")
        wait_for_end(page)
        assert answers(page).locator(".markdown").inner_text()
        set_settings(page, max_tokens="99999999")
        ask(page, "Make 5 from 2 and 3.")
        refused = answers(page).last.locator(".notice").inner_text()
        assert refused.startswith("The server refused the request: ") and "max_tokens" in refused, refused
        set_settings(page, max_tokens="")
        ask(page, "7 " * 4000)
        refused = answers(page).last.locator(".notice").inner_text()
        assert "context" in refused, refused
        Browser.close(page)
    finally:
        guarded.stop()


def settings_reach_the_server(setup):
    page = setup["browser"].page(setup["server"].url)
    bodies = []
    page.on("request", lambda request: bodies.append(request.post_data_json) if request.method == "POST" else None)
    set_settings(page, temperature=0.5, top_p=0.9, seed=3, max_tokens=60, max_thinking_tokens=20, effort="low",
                 system="Be brief.", price=2, currency="€")
    ask(page, QUESTION)
    body = bodies[-1]
    assert (body["temperature"], body["top_p"], body["seed"], body["max_tokens"]) == (0.5, 0.9, 3, 60)
    assert (body["max_thinking_tokens"], body["reasoning_effort"]) == (20, "low")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "€" in answers(page).locator(".stats").inner_text()
    # They are there after a reload; empty fields are not sent.
    Browser.open(page, setup["server"].url)
    set_settings(page, temperature="", top_p="", seed="", max_tokens="", max_thinking_tokens="", effort="", system="", price="")
    page.click("#new-conversation")
    ask(page, QUESTION)
    assert set(bodies[-1]) == {"messages", "stream", "stream_options", "return_token_ids"}, bodies[-1]
    Browser.close(page)


def works_by_keyboard_alone(setup):
    slow = Connection(setup["server"].port)
    page = setup["browser"].page(slow.url)

    def tab_to(selector):
        for _ in range(40):
            page.keyboard.press("Tab")
            focus = page.evaluate("""() => {
              const at = document.activeElement, style = getComputedStyle(at);
              return {outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, body: at === document.body};
            }""")
            assert focus["body"] or focus["outline"], page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to(".skip")
    assert page.locator(".skip").bounding_box()["x"] >= 0, "the skip link cannot be seen"
    tab_to("#settings-button")
    page.keyboard.press("Enter")
    tab_to("#settings [name=seed]")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    assert page.evaluate("JSON.parse(localStorage['r1-settings']).seed") == "7"
    page.keyboard.press("Enter")
    tab_to("#settings [name=key]")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.querySelector('#settings').open")
    assert page.evaluate("document.activeElement.id") == "settings-button"
    tab_to("#message")
    page.keyboard.type("Make 24")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("from 12, 11 and 47.")
    slow.allowed = 3000
    page.keyboard.press("Enter")
    page.wait_for_selector("details.thought.live .text:not(:empty)")
    assert page.locator(".message.user .text").inner_text() == "Make 24\nfrom 12, 11 and 47."
    page.keyboard.press("Escape")
    wait_for_end(page)
    slow.allowed = None
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "Regenerate"
    page.keyboard.press("Enter")
    wait_for_end(page)
    assert "tokens" in answers(page).locator(".stats").inner_text()
    page.focus("#new-conversation")
    tab_to("#conversation-list summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("By keyboard")
    page.keyboard.press("Enter")
    page.wait_for_selector("#conversation-list .open-button:has-text('By keyboard')")
    Browser.close(page)


def a_real_model_answers(setup):
    if not setup["smollm2"]:
        print("SKIPPED a_real_model_answers: R1_SMOLLM2_GGUF is not set, so the page was not tried with SmolLM2", flush=True)
        return
    real = Server(setup["program"], model=setup["smollm2"])
    try:
        page = setup["browser"].page(real.url)
        set_settings(page, seed=2, temperature=0, max_tokens=220)
        question = "Write a short Python function that adds two numbers, and explain it in a list of three points."
        page.fill("#message", question)
        page.keyboard.press("Enter")
        # It is drawn while it comes.
        page.wait_for_selector(".message.assistant .markdown :text-matches('.')")
        wait_for_end(page)
        # The same request gives the same answer, without a page as well.
        got = real.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": question}], "seed": 2, "temperature": 0,
                                                "max_tokens": 220})["choices"][0]["message"]
        copied = page.evaluate("""async () => {
          const {allConversations} = await import('/page/store.js');
          return (await allConversations())[0].messages[1];
        }""")
        assert copied["content"].strip() == got["content"].strip() and got["content"], (copied, got)
        assert answers(page).locator(".markdown > *").count() >= 2, "the answer has parts"
        assert answers(page).locator("details.thought").is_hidden(), "this model writes no thought"
        assert "tokens/s" in answers(page).locator(".stats").inner_text()
        page.evaluate("document.activeElement.blur()")
        screenshot(setup, page, "page-smollm2")
        no_serious_fault(page, "an answer of SmolLM2")
        Browser.close(page)
    finally:
        real.stop()


def fits_a_phone(setup):
    page = setup["browser"].page(setup["server"].url, width=360, height=720, has_touch=True)
    ask(page, "Make 24 from 12, 11 and 47, with " + "averyveryverylongword" * 8)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    for name in ("message", "send", "settings-button", "menu"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 24, (name, box)
    assert page.locator("#conversation-list").is_hidden()
    page.click("#menu")
    assert page.locator("#conversation-list").is_visible()
    assert page.get_attribute("#menu", "aria-expanded") == "true" and page.evaluate(fits)
    no_serious_fault(page, "the list on a phone")
    page.keyboard.press("Escape")
    assert page.locator("#conversation-list").is_hidden()
    assert page.evaluate("document.activeElement.id") == "menu"
    page.click("#settings-button")
    assert page.evaluate(fits)
    page.keyboard.press("Escape")
    page.click("#menu")
    page.click("#new-conversation")
    ask(page, QUESTION)
    screenshot(setup, page, "page-phone")
    no_serious_fault(page, "a phone")
    Browser.close(page)


def has_no_serious_fault_in_light_and_dark(setup):
    for scheme in ("light", "dark"):
        page = setup["browser"].page(setup["server"].url, color_scheme=scheme, reduced_motion="reduce")
        no_serious_fault(page, f"an empty page, {scheme}")
        set_settings(page, seed=7)
        ask(page, QUESTION)
        page.locator("details.thought summary").click()
        page.evaluate("""async () => {
          const {showMarkdown} = await import('/page/markdown.js');
          const place = document.querySelector('.markdown');
          place.replaceChildren();
          place.markdownBlocks = [];
          showMarkdown(place, '# One\\n\\n> quote\\n\\n- a `code`\\n\\n```py\\n' + 'x = 1 '.repeat(90) +
            '\\n```\\n\\n|a|b|\\n|-|-|\\n|1|2|\\n\\nA [link](https://example.org) and $x^2$.');
        }""")
        page.wait_for_selector(".katex")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(22, 22, 22)") == (scheme == "dark"), dark
        no_serious_fault(page, f"a conversation, {scheme}")
        page.click("#settings-button")
        no_serious_fault(page, f"the settings, {scheme}")
        page.select_option("#settings [name=theme]", "light" if scheme == "dark" else "dark")
        page.click("#settings button[type=submit]")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark, "a person's choice wins"
        no_serious_fault(page, f"a conversation, not {scheme}")
        Browser.close(page)


TESTS = [streams_a_thought_that_folds, says_whole_sentences_to_a_screen_reader, stops_by_escape_and_by_the_button,
         regenerates_and_edits, an_answer_that_is_left_for_another_conversation_is_stopped, keeps_conversations_over_a_reload, a_connection_that_breaks_keeps_what_came,
         a_page_that_is_closed_keeps_what_came, a_second_tab_follows_an_answer_and_leaves_it_whole,
         a_conversation_that_another_tab_deletes_stays_deleted, says_in_plain_words_what_the_server_refuses, settings_reach_the_server,
         works_by_keyboard_alone, a_real_model_answers, fits_a_phone, has_no_serious_fault_in_light_and_dark]
