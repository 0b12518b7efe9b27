"""What answers may look like, and what a hostile one cannot do."""

from browser_util import Browser

DRAW = """async (text) => {
  const {showMarkdown} = await import('/page/markdown.js');
  const place = document.createElement('div');
  document.body.append(place);
  showMarkdown(place, text);
  return place.innerHTML;
}"""


def draws_markdown(setup):
    page = setup["browser"].page(setup["server"].url)
    cases = [
        ("plain", "<p>plain</p>"),
        ("a\nb", "<p>a<br>b</p>"),
        ("a\n\nb", "<p>a</p><p>b</p>"),
        ("# One\n### Three ###", "<h3>One</h3><h5>Three</h5>"),
        ("**b** *i* ***bi*** ~~d~~ __u__ _v_", "<p><strong>b</strong> <em>i</em> <strong><em>bi</em></strong> <del>d</del> <strong>u</strong> <em>v</em></p>"),
        ("2*3*4 = 24, (45-43)*17*(2), a_b_c", "<p>2*3*4 = 24, (45-43)*17*(2), a_b_c</p>"),
        ("**not closed and *neither", "<p>**not closed and *neither</p>"),
        ("`a*b*` and ``x ` y``", "<p><code>a*b*</code> and <code>x ` y</code></p>"),
        (r"\*no\* \# \<b\>", "<p>*no* # &lt;b&gt;</p>"),
        ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
        ("3. a\n4. b\n\n5. c", '<ol start="3"><li>a</li><li>b</li><li>c</li></ol>'),
        ("text\n- a\n- b", "<p>text</p><ul><li>a</li><li>b</li></ul>"),
        ("1. a\n\n   more\n2. b", "<ol><li>a<p>more</p></li><li>b</li></ol>"),
        ("> q\n> r\n\nx", "<blockquote><p>q<br>r</p></blockquote><p>x</p>"),
        ("---", "<hr>"),
        ("[a *b*](https://example.org/x_(y))", '<p><a href="https://example.org/x_(y)" target="_blank" rel="noopener noreferrer">a <em>b</em></a></p>'),
        ("see https://example.org/a.", '<p>see <a href="https://example.org/a" target="_blank" rel="noopener noreferrer">https://example.org/a</a>.</p>'),
        ("it costs $5 and $6", "<p>it costs $5 and $6</p>"),
        ("unclosed $x + 1", "<p>unclosed $x + 1</p>"),
    ]
    for text, html in cases:
        got = page.evaluate(DRAW, text)
        assert got == html, f"{text!r}\n got {got}\nwant {html}"
    table = page.evaluate(DRAW, "| a | b |\n|:--|--:|\n| 1 | `x|y` |\n| 2 \\| 3 |")
    assert "<th scope=\"col\">a</th><th class=\"right\" scope=\"col\">b</th>" in table and "<td>2 | 3</td>" in table, table
    code = page.evaluate(DRAW, "```python\nif a < b:\n    **x**\n```\nafter")
    assert "<code>if a &lt; b:\n    **x**</code>" in code and "<p>after</p>" in code, code
    assert "<code>half" in page.evaluate(DRAW, "```\nhalf"), "a block that is still being written is code already"
    Browser.close(page)


def draws_formulas(setup):
    page = setup["browser"].page(setup["server"].url)
    for text, display in (("$x^2$", 0), (r"\(\frac{1}{2}\)", 0), (r"\[ \int_0^1 x \, dx \]", 1), ("$$\nE = mc^2\n$$", 1),
                          ("in $a$ line $$b$$ both", 1)):
        page.evaluate("document.querySelectorAll('body > div:not([class]):not([id])').forEach((d) => d.remove())")
        page.evaluate(DRAW, text)
        page.wait_for_selector("body > div .formula.drawn .katex")
        assert page.locator("body > div .formula.display").count() == display, text
    assert page.locator(".katex-mathml math").count() > 0, "a screen reader gets MathML"
    page.evaluate("document.fonts.ready")
    assert page.evaluate("[...document.fonts].some((f) => f.family.includes('KaTeX') && f.status === 'loaded')")
    # Commands that KaTeX does not know stay as text, and commands that could harm are not carried out.
    for text in (r"$\nothing{$", r"$\href{javascript:alert(1)}{x}$", r"$\def\a{\a\a}\a$", r"$\includegraphics{https://example.org/x.png}$"):
        html = page.evaluate(DRAW, text)
        assert "<img" not in html and "href" not in page.evaluate("document.querySelector('body > div:last-child a')?.outerHTML ?? ''"), html
    Browser.close(page)


def hostile_answers_do_nothing(setup):
    page = setup["browser"].page(setup["server"].url)
    cases = [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "[x](javascript:alert(1))",
        "[x](JAVASCRIPT:alert(1))", "[x]( java\tscript:alert(1))", "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)", "[x](file:///etc/passwd)", "[x](/runs)", "[x](//example.org)", "![x](https://example.org/track.png)",
        "![x](javascript:alert(1))", "<javascript:alert(1)>", "<https://example.org/\"onmouseover=alert(1)>",
        "```<img src=x onerror=alert(1)>\n</code></pre><script>alert(1)</script>\n```", "| <b> | x |\n|-|-|\n| <img src=x> |",
        "[![x](https://example.org/a.png)](https://example.org)", "# <iframe src=//example.org>", "- <a href=x>", "&lt;script&gt;",
    ]
    for text in cases:
        page.evaluate(DRAW, text)
    found = page.evaluate("""() => {
      const added = [...document.querySelectorAll('body > div:not([class]):not([id]) *')];
      return {
        tags: [...new Set(added.map((node) => node.tagName.toLowerCase()))],
        links: added.filter((node) => node.href).map((node) => node.href),
        handlers: added.filter((node) => [...node.attributes].some((a) => a.name.startsWith('on') || a.name === 'style')).length,
      };
    }""")
    assert not {"script", "img", "svg", "iframe", "object", "style", "link"} & set(found["tags"]), found
    assert all(link.startswith("https://example.org/") for link in found["links"]), found
    assert len(found["links"]) > 0 and found["handlers"] == 0, found
    # Texts that make careless parsers slow or their stacks deep.
    for text in ("[" * 50_000, "*a " * 30_000, "**a " * 30_000, "`" * 50_000, "` `` " * 20_000, "$a " * 30_000, "> " * 20_000, "- " * 20_000,
                 "\n".join("  " * i + "- x" for i in range(400)), "[a](" * 20_000, "|" * 50_000 + "\n" + "|-" * 20_000, "<https://" * 20_000,
                 "\\(" * 30_000, "_a_" * 20_000, "~~a" * 20_000, "![" * 30_000, "# " * 20_000, "\\" * 50_000, "h" * 50_000):
        page.evaluate(DRAW, text)
    Browser.close(page)


def a_growing_answer_keeps_what_is_drawn(setup):
    page = setup["browser"].page(setup["server"].url)
    same = page.evaluate("""async () => {
      const {showMarkdown} = await import('/page/markdown.js');
      const place = document.createElement('div');
      const text = '# Title\\n\\nFirst *paragraph* here.\\n\\n```\\ncode\\n```\\n\\n- a\\n- b\\n\\nLast **one**.';
      let first = null;
      for (let i = 1; i <= text.length; ++i) {
        showMarkdown(place, text.slice(0, i));
        if (i === 20) first = place.firstChild;
      }
      const whole = document.createElement('div');
      showMarkdown(whole, text);
      return [place.innerHTML === whole.innerHTML, place.firstChild === first];
    }""")
    assert same == [True, True], same
    Browser.close(page)


def code_is_copied(setup):
    page = setup["browser"].page(setup["server"].url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(DRAW, "```python\nprint('a < b')\n```")
    page.click("button:has-text('Copy')")
    page.wait_for_selector("button:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == "print('a < b')"
    Browser.close(page)


TESTS = [draws_markdown, draws_formulas, hostile_answers_do_nothing, a_growing_answer_keeps_what_is_drawn, code_is_copied]
