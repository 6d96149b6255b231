// Shows what has changed without losing what is being typed. The page itself is the only source:
// each part that is marked as live is replaced by what the same address shows now.

const EVERY_MS = 1500;
const pause = document.getElementById("pause");

async function look() {
  if (document.hidden || pause.getAttribute("aria-pressed") === "true") {
    return;
  }
  const answer = await fetch(location.href);
  if (!answer.ok) {
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (now && now.innerHTML !== part.innerHTML) {
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      part.replaceChildren(...now.childNodes);
      if (focused) {
        document.getElementById(focused)?.focus();
      }
    }
  }
}

async function lookForEver() {
  try {
    await look();
  } catch {
    // The sandbox is away for a moment; the next look may find it again.
  }
  setTimeout(lookForEver, EVERY_MS);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
});
setTimeout(lookForEver, EVERY_MS);
