"use strict";
// A line beside the list, and on its own page: opening and closing the panel, sections that load by
// themselves. Whatever has data-opens-panel="<address>" opens it.

(() => {
  const panel = document.getElementById("panel");
  /** What Escape closes before the panel. */
  const OPEN_ABOVE = "dialog[open], .modal.show, .dropdown-menu.show";

  // --- opening and closing ------------------------------------------------------------------------

  /** The address of the line that the panel shows; "" while it is closed. */
  let shown = "";
  /** The address that was asked for last: of two in a row only the later is shown. */
  let wanted = "";

  const openers = () => [...document.querySelectorAll("[data-opens-panel]")];
  const openerOf = (address) => openers().find((each) => each.dataset.opensPanel === address);

  /** Marks the row whose line is shown, anew each time: rows may have been replaced. */
  function mark() {
    for (const each of openers()) {
      const isShown = each.dataset.opensPanel === shown;
      each.classList.toggle("is-open", isShown);
      if (isShown) {
        each.setAttribute("aria-current", "true");
      } else {
        each.removeAttribute("aria-current");
      }
    }
  }

  /** Asks for the line; until it has come, the panel stays as it is. */
  function open(address) {
    wanted = address;
    htmx.ajax("GET", address, { source: panel, target: panel, swap: "innerHTML" });
  }

  function arrived(address) {
    shown = address;
    panel.hidden = false;
    panel.scrollTop = 0;
    document.body.classList.add("has-panel");
    mark();
    panel.querySelector("#panel-title").focus({ preventScroll: true });
  }

  function close() {
    const row = openerOf(shown);
    const focused = document.activeElement;
    const wasInside = panel.contains(focused) || focused === document.body;
    panel.hidden = true;
    panel.replaceChildren();
    document.body.classList.remove("has-panel");
    shown = "";
    wanted = ""; // a line on its way would open it again
    mark();
    if (wasInside) {
      (row ?? document.getElementById("main")).focus();
    }
  }

  /** Whether the click was meant for the row, and not for something in it or for its text. */
  function meansRow(event, opener) {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) {
      return false;
    }
    // A click without a count comes from a key, and selects nothing.
    const selection = window.getSelection();
    if (event.detail > 0 && !selection.isCollapsed && selection.containsNode(opener, true)) {
      return false;
    }
    const control = event.target.closest(
      "a, button, input, select, textarea, label, summary, [contenteditable]",
    );
    if (!control || control === opener || !opener.contains(control)) {
      return true;
    }
    // The link of the row itself is for new tabs and for browsers without scripts.
    return control.matches("a") && control.getAttribute("href") === opener.dataset.opensPanel;
  }

  if (panel) {
    document.addEventListener("click", (event) => {
      const opener = event.target.closest("[data-opens-panel]");
      if (opener && !event.defaultPrevented && meansRow(event, opener)) {
        event.preventDefault();
        open(opener.dataset.opensPanel);
      }
    });

    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.isComposing) {
        return; // Escape ends an input method's suggestions first
      }
      if (event.key === "Enter" && event.target.matches("[data-opens-panel]:not(a, button)")) {
        event.preventDefault();
        open(event.target.dataset.opensPanel);
      } else if (event.key === "Escape" && shown && !document.querySelector(OPEN_ABOVE)) {
        event.preventDefault();
        close();
      }
    });

    panel.addEventListener("click", (event) => {
      if (event.target.closest("[data-close-panel]")) {
        close();
      }
    });

    const isLine = (event) => event.detail.target === panel && event.detail.elt === panel;
    document.body.addEventListener("htmx:beforeSwap", (event) => {
      if (isLine(event) && event.detail.pathInfo.requestPath !== wanted) {
        event.detail.shouldSwap = false;
      }
    });
    document.body.addEventListener("htmx:afterSwap", (event) => {
      if (isLine(event)) {
        arrived(event.detail.pathInfo.requestPath);
      }
    });
    // New rows may have come, and the one of the open line among them.
    document.body.addEventListener("htmx:afterSettle", mark);
  }

  // --- sections -----------------------------------------------------------------------------------

  /** Shows, in place of the section, that it did not come; or that it is asked for again. */
  function setFailed(section, failed) {
    section.querySelector(".skeleton").hidden = failed;
    section.querySelector(".section-error").hidden = !failed;
  }

  // Before app.js hears of it: each section says it in its own place, and not all of them at the top.
  for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
    document.addEventListener(
      name,
      (event) => {
        const section = event.target.closest("[data-section]");
        if (section === event.target && section.querySelector(".section-error")) {
          event.stopPropagation();
          setFailed(section, true);
        }
      },
      true,
    );
  }

  document.addEventListener("click", (event) => {
    const section = event.target.closest("[data-again]")?.closest("[data-section]");
    if (section) {
      setFailed(section, false);
      htmx.trigger(section, "again");
    }
  });

  // What a person has just entered on the line is told without asking for it.
  document.addEventListener("custom-value-saved", (event) => {
    const section = document.querySelector(".section-timeline [data-section]");
    const line = section?.getAttribute("hx-get").replace(/timeline\/$/, "");
    if (line && event.detail.address.startsWith(line)) {
      htmx.trigger(section, "again");
    }
  });

  // Older entries take the place of the button that asked for them: reading goes on at the first.
  document.addEventListener("htmx:load", (event) => {
    if (event.detail.elt.matches?.("[data-focus]")) {
      event.detail.elt.focus();
    }
  });
})();
