"use strict";
// Values that people may change where they stand, in the list and in the panel: a click, Enter or F2
// puts a form into the cell, Enter saves, Escape leaves it as it was.

(() => {
  const before = new WeakMap();

  document.addEventListener("keydown", (event) => {
    if (event.isComposing) {
      return; // Escape ends an input method's suggestions, Enter takes one of them
    }
    const form = event.target.closest?.("[data-cell-form]");
    const cell = event.target.matches?.("[data-edits]") ? event.target : null;
    if (form && event.key === "Escape") {
      event.stopPropagation();
      event.preventDefault();
      leaveCell(form);
    } else if (cell && (event.key === "Enter" || event.key === "F2")) {
      event.preventDefault();
      enterCell(cell);
    }
  }, true);

  function enterCell(cell) {
    if (!cell.querySelector("form")) {
      before.set(cell, cell.innerHTML);
      htmx.ajax("GET", cell.dataset.edits, { source: document.body, target: cell, swap: "innerHTML" });
    }
  }

  function leaveCell(form) {
    const cell = form.closest("[data-edits]");
    if (before.has(cell)) {
      cell.innerHTML = before.get(cell);
      focusOn(cell);
    }
  }

  function focusOn(cell) {
    if (!cell.hasAttribute("tabindex")) {
      cell.tabIndex = -1;
    }
    cell.focus();
  }

  // Before panel.js hears of it: a click on such a value changes it and does not open the line.
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-edits]");
    if (!cell) {
      return;
    }
    const form = event.target.closest("[data-cell-form]");
    if (form && event.target.closest("button") && !event.target.closest("[data-cancels-cell]")) {
      return; // its own buttons, which htmx listens to
    }
    event.stopPropagation();
    const cancel = event.target.closest("[data-cancels-cell]");
    if (cancel) {
      leaveCell(cancel.closest("[data-cell-form]"));
    } else if (!form) {
      enterCell(cell);
    }
  }, true);

  document.addEventListener("htmx:afterSettle", (event) => {
    const cell = event.target.closest?.("[data-edits]");
    const field = cell?.querySelector("[name=value]");
    if (field) {
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
      field.focus();
      field.select?.();
    } else if (cell && document.activeElement === document.body) {
      focusOn(cell);
    }
  });

  document.addEventListener("custom-value-saved", (event) => {
    const address = event.detail.address.replace(/give-back\/$/, "");
    document.querySelectorAll(`[data-edits="${address}"]`).forEach((cell) => {
      if (!cell.contains(event.target) && !cell.querySelector("form")) {
        htmx.ajax("GET", `${address}?shown`, { source: document.body, target: cell, swap: "innerHTML" });
      }
    });
  });
})();
