"""The gateway in a real Chromium: the page of its documentation, and a chat that is streamed."""

from __future__ import annotations

import json
import re

import pytest

from chromium import PHONE, Chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]
#: Asks for a chat as a script of a page does, and notes each piece of text and when it came.
CHAT = """(async () => {
  const asked = performance.now();
  const reply = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: {'authorization': 'Bearer %s', 'content-type': 'application/json'},
    body: JSON.stringify({model: 'auto', stream: true, messages: [
      {role: 'user', content: '[[echo: delay=0.3]] one two three four'}]}),
  });
  const pieces = [], reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', lines;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    lines = (rest + part.value).split('\\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data: {')) {
      const text = JSON.parse(line.slice(6)).choices[0]?.delta.content;
      if (text) pieces.push([text, (performance.now() - asked) / 1000]);
    }
  }
  return {type: reply.headers.get('content-type'), pieces};
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def docs(served, browser):
    tab = browser.tab()
    tab.go(f"{served.gateway_url}/docs")
    tab.until("document.querySelectorAll('.opblock').length > 10")
    return tab


def test_the_page_of_the_documentation_shows_the_endpoints(served, docs):
    paths = docs.run("[...document.querySelectorAll('[data-path]')].map(e => e.dataset.path)")
    assert {"/v1/chat/completions", "/v1/messages", "/jobs/{job_id}", "/tenants/me"} <= set(paths)
    assert [url for url in docs.requests if not url.startswith((served.gateway_url, "data:"))] == []
    assert docs.complaints == []


@pytest.mark.parametrize("width", [1280, PHONE[0]])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_of_the_documentation_is_light_or_dark_as_the_system_is(
    served, browser, width, dark
):
    tab = browser.tab(width, dark=dark)
    tab.go(f"{served.gateway_url}/docs")
    tab.until("document.querySelectorAll('.opblock').length > 10")
    ground, text = (lightness(tab, *of) for of in GROUND_AND_TEXT)
    darker, lighter = (ground, text) if dark else (text, ground)
    assert darker < 0.3
    assert lighter > 0.7
    tab.click(".opblock-summary-control")
    tab.until("document.querySelectorAll('.opblock.is-open .renderedMarkdown code').length > 2")
    assert tab.run(HIGH_WORDS) == []
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    tab.close()


#: The words of code that are higher than their lines.
HIGH_WORDS = """[...document.querySelectorAll('.opblock.is-open .renderedMarkdown p code')].filter(
  word => word.getClientRects()[0].height >
    parseFloat(getComputedStyle(word.closest('p')).fontSize) * 1.3
).map(word => word.innerText)"""


GROUND_AND_TEXT = (("html", "backgroundColor"), (".info .title", "color"))


def lightness(tab, selector, name):
    """Return how light a colour on the page is, from 0 to 1; what is transparent shows white."""
    found = tab.run(f"getComputedStyle(document.querySelector('{selector}')).{name}")
    red, green, blue, *alpha = map(float, re.findall(r"[\d.]+", found))
    share = alpha[0] if alpha else 1.0
    return 1 - share + share * (red + green + blue) / 3 / 255


def test_a_person_tries_an_endpoint_with_a_key(docs, key):
    docs.click(".scheme-container .authorize")
    docs.until("document.querySelector('.auth-container input')")
    docs.type(".auth-container input", key)
    docs.click(".auth-btn-wrapper .authorize")
    docs.until("document.querySelector('.auth-btn-wrapper .btn-done')")
    docs.click(".auth-btn-wrapper .btn-done")
    endpoint = "[id$='tenants_me_get'], [data-path='/tenants/me']"
    docs.run(f"document.querySelector({json.dumps(endpoint)}).closest('.opblock').id = 'tried'")
    for selector in ("#tried .opblock-summary-control", "#tried .try-out__btn", "#tried .execute"):
        docs.until(f"document.querySelector({json.dumps(selector)})")
        docs.click(selector)
    docs.until("document.querySelector('#tried .live-responses-table .response-col_status')")
    assert docs.text("#tried .live-responses-table tbody .response-col_status").startswith("200")
    assert '"acme"' in docs.text("#tried .live-responses-table tbody")


def test_a_chat_is_streamed_into_a_page_word_by_word(docs, key):
    told = docs.run(CHAT % key)
    assert told["type"].startswith("text/event-stream")
    pieces, times = zip(*told["pieces"], strict=True)
    assert "".join(pieces) == "one two three four"
    assert len(pieces) >= 3
    assert times[-1] - times[0] > 0.3  # not all at once at the end
    assert docs.complaints == []
