"use strict";
// The PO list: its keys, its filters and its dialogs. What a line opens is in panel.js, the editing of
// values in cells.js; rows come and go by htmx, so everything listens on the document.

(() => {
  const rows = () => [...document.querySelectorAll("#rows tr[data-opens-panel]")];
  const isTyping = (element) => element.closest("input, select, textarea, [contenteditable]") !== null;

  // --- rows by keyboard ---------------------------------------------------------------------------

  // Tab reaches one row, arrows the others.
  let current = null;

  function takeUp(row, focus) {
    document.querySelectorAll("#rows tr[tabindex='0']").forEach((each) => { each.tabIndex = -1; });
    row.tabIndex = 0;
    current = row.id;
    if (focus) {
      row.focus({ preventScroll: true });
      keepInSight(row);
    }
  }

  /** Scrolls as far as the sticky head asks for, which scrollIntoView does not know. */
  function keepInSight(row) {
    const box = row.closest(".grid-scroll");
    const head = box.querySelector("thead").offsetHeight;
    const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
    if (top < box.scrollTop + head) {
      box.scrollTop = top - head;
    } else if (bottom > box.scrollTop + box.clientHeight) {
      box.scrollTop = bottom - box.clientHeight;
    }
  }

  function entrance() {
    const row = document.getElementById(current) || rows()[0];
    if (row && row.matches("#rows tr[data-opens-panel]")) {
      takeUp(row, false);
    }
  }

  function step(from, by) {
    const all = rows();
    const here = all.indexOf(from);
    const next = all[Math.min(Math.max(here + by, 0), all.length - 1)];
    if (next) {
      takeUp(next, true);
    }
  }

  /** Next or previous value of the row that may be changed, the row itself included. Returns whether
   *  there is one. */
  function stepCell(row, from, by) {
    const stops = [row, ...row.querySelectorAll("[data-edits]")];
    const next = stops[stops.indexOf(from) + by];
    if (!next) {
      return false;
    }
    if (next !== row) {
      next.tabIndex = -1;
    }
    next.focus();
    return true;
  }

  const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -1e6, End: 1e6 };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) {
      return;
    }
    if (event.isComposing) {
      return; // the key is for an input method
    }
    const target = event.target instanceof Element ? event.target : document.body;
    if (isTyping(target) || event.defaultPrevented) {
      return;
    }
    const row = target.closest("#rows tr[data-opens-panel]");
    const cell = target.closest("#rows [data-edits]");
    if (row && event.key in STEPS) {
      step(row, STEPS[event.key]);
    } else if (row && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      if (!stepCell(row, cell || row, event.key === "ArrowRight" ? 1 : -1)) {
        return; // the browser moves the table sideways
      }
    } else if (event.key === "ArrowDown" && target === document.body && rows().length) {
      takeUp(document.getElementById(current) || rows()[0], true);
    } else if (event.key === "/") {
      document.querySelector(".filters input, .filters button")?.focus();
    } else if (event.key === "?") {
      document.getElementById("keys")?.showModal();
    } else {
      return;
    }
    event.preventDefault();
  });

  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.("#rows tr[data-opens-panel]")) {
      takeUp(event.target, false);
    }
  });

  // --- the columns that stay in sight -------------------------------------------------------------

  const widths = new ResizeObserver(([first]) => {
    const width = `${first.borderBoxSize[0].inlineSize}px`;
    first.target.closest("table")?.style.setProperty("--first-pinned", width);
  });

  function watchPinned() {
    widths.disconnect();
    const first = document.querySelector("#heads .pinned");
    if (first) {
      widths.observe(first);
    }
  }

  // --- filters ------------------------------------------------------------------------------------

  /** Outlines a filter that narrows, and says in a closed one what it is set to. */
  function mark(filter) {
    const inputs = [...filter.querySelectorAll("input")];
    const set = inputs.filter((input) => (input.type === "checkbox" ? input.checked : input.value));
    filter.classList.toggle("is-active", set.length > 0);
    const words = filter.querySelector("[data-filter-words]");
    if (words) {
      words.dataset.unset ??= words.textContent;
      words.textContent = set.map(said).join(", ") || words.dataset.unset;
    }
  }

  function said(input) {
    const label = input.closest("label").textContent.trim();
    return input.type === "checkbox" ? label : `${label} ${input.value}`;
  }

  const markAll = () => document.querySelectorAll("[data-filter]").forEach(mark);

  document.addEventListener("input", (event) => {
    const filter = event.target.closest("[data-filter]");
    if (filter) {
      mark(filter);
    }
  });

  document.addEventListener("click", (event) => {
    const filter = event.target.closest("[data-clears]")?.closest("[data-filter]");
    if (!filter) {
      return;
    }
    let last = null;
    filter.querySelectorAll("input").forEach((input) => {
      if (input.type === "checkbox" ? input.checked : input.value) {
        last = input;
      }
      input.checked = false;
      if (input.type !== "checkbox") {
        input.value = "";
      }
    });
    mark(filter);
    if (last) {
      // One request, of the kind that this field sends anyway.
      last.dispatchEvent(new Event(last.type === "text" ? "input" : "change", { bubbles: true }));
    }
    filter.querySelector("input, button").focus();
  });

  // A menu that would not fit on the right opens to the left.
  document.addEventListener("shown.bs.dropdown", (event) => {
    const menu = event.target.closest("[data-filter]")?.querySelector(".dropdown-menu");
    if (menu && menu.getBoundingClientRect().right > document.documentElement.clientWidth - 16) {
      menu.classList.add("dropdown-menu-end");
    }
  });

  // --- dialogs ------------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-shows]");
    if (opener) {
      document.getElementById(opener.dataset.shows).showModal();
    }
    if (event.target.closest("[data-closes-dialog]")) {
      const dialog = event.target.closest("dialog");
      if (dialog) {
        dialog.close();
      } else {
        history.back(); // the dialog has a page of its own
      }
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = event.target.closest?.("#dialog");
    if (dialog && !dialog.open) {
      dialog.showModal();
    }
  });

  // --- the order of columns -----------------------------------------------------------------------

  let dragged = null;

  document.addEventListener("dragstart", (event) => {
    dragged = event.target.closest?.("[data-sortable] > li") || null;
    dragged?.classList.add("is-dragged");
  });
  document.addEventListener("dragover", (event) => {
    const over = event.target.closest?.("[data-sortable] > li");
    if (dragged && over && over !== dragged) {
      const box = over.getBoundingClientRect();
      over[event.clientY < box.top + box.height / 2 ? "before" : "after"](dragged);
    }
    if (dragged) {
      event.preventDefault();
    }
  });
  document.addEventListener("dragend", () => {
    dragged?.classList.remove("is-dragged");
    dragged = null;
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-moves]");
    const item = button?.closest("li");
    const other = item && (button.dataset.moves === "1" ? item.nextElementSibling : item.previousElementSibling);
    if (other) {
      other[button.dataset.moves === "1" ? "after" : "before"](item);
      button.focus();
    }
  });
  // Where nothing can be stored, the address says the columns: one value instead of one for each.
  document.addEventListener("submit", (event) => {
    const name = event.target.dataset.joins;
    if (name) {
      const ticked = [...event.target.querySelectorAll("[name=column]:checked")];
      const params = new URLSearchParams(event.target.elements.query.value);
      params.set(name, ticked.map((input) => input.value).join(","));
      event.preventDefault();
      location.assign(`${event.target.action}?${params}`);
    }
  });

  // --- links to the list --------------------------------------------------------------------------

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copies]");
    if (!button) {
      return;
    }
    const address = new URL(button.dataset.copies, location.href).href;
    let message = { level: "success", text: button.dataset.copied };
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      // No permission, or no https: then the person copies it.
      message = { level: "error", text: `${document.getElementById("list").dataset.notCopied} ${address}` };
    }
    htmx.trigger(document.body, "toast", message);
  });

  // --- the Excel file -----------------------------------------------------------------------------

  // A long one takes half a minute to make, of which the browser shows nothing. The answer brings a
  // cookie with the mark that was sent, which says that the file is there.
  const LONGEST_SECONDS = 300;
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-prepares]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) {
      return;
    }
    event.preventDefault();
    if (link.hasAttribute("aria-busy")) {
      return;
    }
    const began = Date.now();
    const address = new URL(link.href);
    address.searchParams.set("mark", began);
    const words = link.querySelector("span");
    const label = words.textContent;
    link.setAttribute("aria-busy", "true");
    const watching = setInterval(() => {
      const seconds = Math.floor((Date.now() - began) / 1000);
      words.textContent = `${link.dataset.prepares} ${seconds} s`;
      if (document.cookie.includes(`file=${began}`) || seconds > LONGEST_SECONDS) {
        clearInterval(watching);
        words.textContent = label;
        link.removeAttribute("aria-busy");
      }
    }, 250);
    location.assign(address);
  });

  // --- after each part that came ------------------------------------------------------------------

  function refresh() {
    entrance();
    markAll();
    watchPinned();
  }

  /** What had the focus before the part came. */
  let held = null;

  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "rows" || event.target.id === "list" || event.target.closest?.("#list")) {
      refresh();
      goOn();
    }
  });

  /** Whoever pressed what is no longer there, as "Clear filters", goes on at the lines. */
  function goOn() {
    if (held && !held.isConnected && document.activeElement === document.body) {
      const row = document.querySelector("#rows tr[tabindex='0']");
      (row || document.querySelector(".grid-scroll")).focus({ preventScroll: true });
    }
    held = null;
  }

  document.addEventListener("htmx:beforeSwap", (event) => {
    held = document.activeElement;
    // Other lines begin at their top; the same ones stay where they are.
    if (event.detail.target?.id === "rows" && event.detail.requestConfig?.elt.id !== "refresh") {
      document.querySelector(".grid-scroll").scrollTop = 0;
    }
  });

  document.addEventListener("htmx:historyRestore", refresh);
  refresh();
})();
