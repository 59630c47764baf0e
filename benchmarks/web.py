"""From an intent on one replica to the pixels on another one's page, in Debian's Chromium.

Both replicas and both servers share this process and its one loop, so the figure is on the slow side of what two
machines would show, less the network between them. The browser says itself when it has painted.
"""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import AsyncExitStack

from antiphon import CHAT_SIGNAL, Journal
from antiphon.app.intents import CreateChannel, SendMessage
from antiphon.app.web import serve_web
from antiphon.app.wiring import core_of

from .measure import Figure, Sample, Settings, percentile

# A screenful is painted already, as in any conversation.
SAID_BEFORE = 50

# A frame is on its way to the screen when the first task after its animation callback runs.
WATCH = """() => {
  window.painted = new Map();
  window.waiting = new Map();
  const note = (id) => {
    painted.set(id, Date.now());
    waiting.get(id)?.(Date.now());
  };
  new MutationObserver((records) => {
    const ids = records.flatMap((record) => [...record.addedNodes]).map((node) => node.dataset.message);
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => ids.forEach(note);
      channel.port2.postMessage(0);
    });
  }).observe(document.getElementById("messages"), { childList: true });
}"""
UNTIL_PAINTED = "(id) => painted.get(id) ?? new Promise((resolve) => waiting.set(id, resolve))"


async def measure(settings: Settings) -> list[Figure]:
    """One message at a time, each when the one before was painted; says so when there is no browser."""
    chromium = shutil.which("chromium")
    try:
        from playwright.async_api import async_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        print("web: needs Playwright and Debian's chromium (make test-system installs it); left out", file=sys.stderr)
        return []
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ada = await enter(Journal.open(settings.folder / "web-a", author="ada"))
        ben = await enter(Journal.open(settings.folder / "web-b", author="ben"))
        here, there = await enter(core_of(ada)), await enter(core_of(ben))
        peer = await enter(ada.serve())
        await enter(ben.link(peer.address))
        server = await enter(serve_web(there, "127.0.0.1:0"))
        playwright = await enter(async_playwright())
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        stack.push_async_callback(browser.close)
        page = await browser.new_page()
        await page.goto(server.url)
        await here.submit(CreateChannel(channel_id="hall", name="Hall"))
        for number in range(SAID_BEFORE):
            await here.submit(SendMessage(channel_id="hall", text=f"said before {number}"))
        await page.locator("#messages > li").nth(SAID_BEFORE - 1).wait_for()
        await page.evaluate(WATCH)
        painted, arrived = [], []
        updates = await enter(there.subscribe(CHAT_SIGNAL))
        for number in range(settings.pick(300, 40)):
            while updates.try_recv() is not None:
                pass
            message_id = f"m{number}"
            start = time.time()
            await here.submit(SendMessage(channel_id="hall", text=f"now {number}", message_id=message_id))
            while there.read(CHAT_SIGNAL).messages_in("hall")[-1].id != message_id:
                await updates.recv()
            arrived.append(Sample(time.time() - start, 0))
            at_ms: float = await page.evaluate(UNTIL_PAINTED, message_id)
            painted.append(Sample(at_ms / 1000 - start, 0))
    median = percentile(painted, 50) * 1e3
    return [
        Figure(
            name="web_paint",
            title="fact on one replica → painted on the other's page, p50",
            unit="ms",
            ours=median,
            reference=None,
            value=median,
            goal=60,
            final_goal=60,
            value_unit=" ms",
            is_cpu_judged=False,
            details={
                "messages": len(painted),
                "p10_ms": percentile(painted, 10) * 1e3,
                "p99_ms": percentile(painted, 99) * 1e3,
                "signal_of_the_other_replica_p50_ms": percentile(arrived, 50) * 1e3,
            },
        )
    ]
