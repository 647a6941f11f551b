// Looks for news every few seconds and swaps the page's content when there are any, keeping what the reader has opened.
"use strict";
const every = 3000;

async function refresh() {
  if (document.hidden) return;
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const present = document.querySelector("main");
    const next = fresh.querySelector("main");
    if (!next || present.dataset.state === next.dataset.state) return;
    const open = new Set([...present.querySelectorAll("details[open]")].map((details) => details.id));
    for (const details of next.querySelectorAll("details")) {
      if (open.has(details.id)) details.open = true;
    }
    // A picture that is there already stays, so that nothing flickers.
    const pictures = new Map([...present.querySelectorAll("img")].map((image) => [image.getAttribute("src"), image]));
    for (const image of next.querySelectorAll("img")) {
      const kept = pictures.get(image.getAttribute("src"));
      if (kept) image.replaceWith(kept);
    }
    present.replaceWith(next);
  } catch {
    // The practice is closed; the page stays as it is.
  }
}

setInterval(refresh, every);
