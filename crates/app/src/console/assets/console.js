// Keeps a page as it is now: when something has happened, the page is read again and what is in <main> replaced, unless somebody
// is writing there. Without this script the pages are the same, and are reloaded by hand.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main || !window.EventSource) return;
  const isBusy = () => main.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button");
  let waiting = false, again = false;
  async function refresh() {
    if (waiting) { again = true; return; }
    if (isBusy() || document.hidden) return;
    waiting = true;
    try {
      const reply = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      if (reply.ok) {
        const page = new DOMParser().parseFromString(await reply.text(), "text/html");
        const fresh = page.querySelector("main[data-live]");
        if (fresh && !isBusy() && fresh.innerHTML !== main.innerHTML) main.replaceChildren(...fresh.childNodes);
      }
    } catch { /* The stream says when the console is there again. */ }
    waiting = false;
    if (again) { again = false; setTimeout(refresh, 1000); }
  }
  const stream = new EventSource("/live");
  stream.addEventListener("changed", refresh);
  document.addEventListener("visibilitychange", refresh);
})();
