"""The live page in Debian's Chromium: `python browser.py PORT TOKEN FOLDER`, in a venv with
playwright. Screenshots go to FOLDER; a second server plays the page of somebody else."""

import json
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import tomllib
from playwright.sync_api import sync_playwright

port, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
HERE = f"http://127.0.0.1:{port}"


def status():
    return json.load(urllib.request.urlopen(HERE + "/api/status"))


def watched(page, complaints):
    page.on("console", lambda its: complaints.append(its.text) if its.type == "error" else None)
    page.on("pageerror", lambda its: complaints.append(str(its)))


def at_size(browser, name, width, height, scheme):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                  has_touch=width < 600)  # fmt: skip
    page, complaints, asked = context.new_page(), [], []
    watched(page, complaints)
    page.on("request", lambda its: asked.append(its.url))
    page.goto(HERE)
    page.wait_for_selector(".view image")
    page.wait_for_selector(".view .box", state="attached")
    page.wait_for_selector(".events li img")
    page.wait_for_selector(".plot polyline[points*=' ']")
    assert not [url for url in asked if not url.startswith((HERE, "blob:", "data:"))], asked
    paints = page.evaluate("performance.getEntriesByType('paint').map(its => its.startTime)")
    assert paints and max(paints) < 1000, paints
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate("""[...document.querySelectorAll('main button, header button')]
        .filter(its => its.offsetParent && its.getBoundingClientRect().height < 40).length""")
    assert small == 0, small
    nameless = page.evaluate("""[...document.querySelectorAll(
        'button, input, select, textarea, svg[role]')].filter(its => !(
            its.textContent.trim() || its.ariaLabel || its.labels?.length ||
            its.getAttribute('aria-label') || its.getAttribute('aria-labelledby'))).length""")
    assert nameless == 0, nameless
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert not complaints, complaints
    return page


def editor(page):
    page.locator("button:has-text('Zones'):visible").first.click()
    box = page.locator("#drawing").bounding_box()
    for x, y in ((0.2, 0.3), (0.7, 0.2), (0.8, 0.8)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.locator("[data-corner='1']").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    told = tomllib.loads(page.input_value("#stanza"))
    corners = told["pipelines"]["parts"]["zones"]["zone1"]["polygon"]
    for got, wanted in zip(corners, ((0.2, 0.3), (0.6, 0.2), (0.8, 0.8)), strict=True):
        assert all(abs(a - b) < 0.02 for a, b in zip(got, wanted, strict=True)), corners
    page.screenshot(path=folder / "editor.png")
    page.select_option("#what", "mask")
    lines = page.input_value("#stanza").splitlines()
    assert lines[0] == "# in [sources.belt]"
    assert len(tomllib.loads(lines[1])["mask"][0]) == 3
    page.click("#editor [data-close]")


def others(browser):
    """A page of somebody else, open in the same browser."""
    evil = f"""<script>
      const here = "{HERE}", said = [];
      const tries = [
        fetch(here + "/api/pipelines/parts", {{method: "POST", body: '{{"action":"stop"}}'}}),
        fetch(here + "/api/pipelines/parts",
              {{method: "POST", mode: "no-cors", body: '{{"action":"stop"}}'}}),
        fetch(here + "/v2/repository/models/parts/unload", {{method: "POST", mode: "no-cors"}}),
        fetch(here + "/api/status"), fetch(here + "/api/views/parts"), fetch(here + "/metrics"),
      ];
      Promise.allSettled(tries).then(all => {{
        const read = its => its.status === "fulfilled" && its.value.type !== "opaque";
        document.title = all.map(its => read(its) ? "READ" : "no").join();
      }});
    </script>
    <form method="POST" action="{HERE}/api/pipelines/parts" enctype="text/plain">
      <input name='{{"action":"stop","x":"' value='"}}'></form>"""

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(evil.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    for name in ("evil.example", "127.0.0.1"):
        page.goto(f"http://{name}:{server.server_port}/")
        page.wait_for_function("document.title")
        assert "READ" not in page.title(), (name, page.title())
        page.evaluate("document.forms[0].submit()")
        page.wait_for_url(HERE + "/**")
        assert "error" in page.content()
        page.goto(f"http://{name}:{server.server_port}/")
    # The same name, bound anew to the device's address.
    reply = page.goto(f"http://evil.example:{port}/")
    assert reply.status == 421, reply.status
    reply = page.goto(f"http://evil.example:{port}/api/status")
    assert reply.status == 421, reply.status
    assert status()["pipelines"]["parts"]["state"] == "ok"
    server.shutdown()


with sync_playwright() as play:
    browser = play.chromium.launch(
        executable_path="/usr/bin/chromium",
        args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
    )
    phone = at_size(browser, "phone", 390, 844, "dark")
    phone.close()
    page = at_size(browser, "desktop", 1280, 900, "light")
    editor(page)
    page.click("#examine")
    page.wait_for_selector(".finding", timeout=60000)
    assert not page.locator("article button:has-text('Stop'):visible").count()
    page.click("#enter")
    page.fill("#token", token)
    page.click("button[value=use]")
    page.locator("article", has_text="parts").locator("button:has-text('Stop')").click()
    page.locator("article", has_text="parts").locator("button:has-text('Start')").wait_for()
    assert status()["pipelines"]["parts"]["state"] == "paused"
    page.locator("article", has_text="parts").locator("button:has-text('Start')").click()
    page.locator("article", has_text="parts").locator("button:has-text('Stop')").wait_for()
    page.locator(".events .thumb:enabled").first.click()
    page.locator("#large img").wait_for()
    page.screenshot(path=folder / "evidence.png")
    page.click("#large [data-close]")
    page.locator(".events button:has-text('Why?')").first.click()
    page.locator("#lines li").first.wait_for()
    page.screenshot(path=folder / "why.png")
    others(browser)
    browser.close()
print("ok")
