// Keeps a page as it is now: when something has happened, the page is read again and what is in <main> replaced, unless somebody
// is writing there. And ends it with the session: nothing stays on a screen for who comes by later. Without this script the pages
// are the same, and are reloaded by hand.
"use strict";
(() => {
  const main = document.querySelector("main");
  const who = (page) => page.querySelector(".person > span")?.textContent;
  // By what this asks nobody uses the console: a session ends behind an open page, too.
  const ask = (path) => fetch(path, { credentials: "same-origin", redirect: "error", headers: { "skin-assist-refresh": "page" } });
  function leave() {
    // An answer to a form has no address of its own.
    const next = main.matches("[data-answer]") ? "" : "?next=" + encodeURIComponent(location.pathname + location.search);
    location.replace("/sign-in" + next);
  }

  if (document.querySelector("form[action='/sign-out']")) {
    const look = async () => {
      try {
        if ((await ask("/session")).status === 401) leave();
      } catch { /* The console is not there. When it is again, it knows of no session. */ }
    };
    setInterval(look, 60_000);
    // Timers stand still while a machine sleeps.
    document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  }

  if (!main.matches("[data-live]") || !window.EventSource) return;
  const isBusy = () => main.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button");
  let waiting = false, again = false;
  async function refresh() {
    if (waiting) { again = true; return; }
    if (isBusy() || document.hidden) return;
    waiting = true;
    try {
      const reply = await ask(location.href);
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      if (reply.status === 401 || who(page) !== who(document)) { leave(); return; }
      const fresh = reply.ok && page.querySelector("main[data-live]");
      if (fresh && !isBusy() && fresh.innerHTML !== main.innerHTML) main.replaceChildren(...fresh.childNodes);
    } catch { /* The stream says when the console is there again. */ }
    waiting = false;
    if (again) { again = false; setTimeout(refresh, 1000); }
  }
  const stream = new EventSource("/live");
  stream.addEventListener("changed", refresh);
  document.addEventListener("visibilitychange", refresh);
})();
