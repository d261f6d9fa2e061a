"use strict";
// What every page does: messages at the top right, the CSRF token for htmx, buttons that wait.

(() => {
  const SUCCESS_STAYS_MS = 3000;

  // --- messages -----------------------------------------------------------------------------------

  /** Lets a message go by itself, unless it is an error, and when it is dismissed. */
  function arm(box) {
    box.querySelector(".toast-close").addEventListener("click", () => box.remove());
    if (!box.classList.contains("toast-error")) {
      setTimeout(() => box.remove(), SUCCESS_STAYS_MS);
    }
  }

  /** Shows a message; `level` is success, info, warning or error. What stands there already is not
   *  said again: a part that asks every two seconds would fill the screen. */
  function toast(level, text) {
    const toasts = document.getElementById("toasts");
    if ([...toasts.querySelectorAll(`.toast-${level} > span`)].some((s) => s.textContent === text)) {
      return;
    }
    const box = document.createElement("div");
    box.className = `toast-box toast-${level}`;
    box.setAttribute("role", level === "error" ? "alert" : "status");
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "toast-close";
    close.setAttribute("aria-label", toasts.dataset.close);
    const cross = document.createElement("i");
    cross.className = "bi bi-x-lg";
    cross.setAttribute("aria-hidden", "true");
    close.append(cross);
    box.append(words, close);
    toasts.append(box);
    arm(box);
  }

  document.querySelectorAll("[data-toast]").forEach(arm);
  document.body.addEventListener("toast", (event) => toast(event.detail.level, event.detail.text));

  // An answer that says nothing for itself.
  const said = (name) => document.getElementById("toasts").dataset[name];
  document.body.addEventListener("htmx:sendError", () => toast("error", said("unreachable")));
  document.body.addEventListener("htmx:timeout", () => toast("error", said("unreachable")));
  document.body.addEventListener("htmx:responseError", (event) => {
    if (!(event.detail.xhr.getResponseHeader("HX-Trigger") || "").includes('"toast"')) {
      toast("error", said("failed"));
    }
  });

  // --- requests -----------------------------------------------------------------------------------

  // The cookie and not a value in the page: it stays right when somebody signs in in another tab. The
  // value that a form has for browsers without scripts would count before it.
  document.body.addEventListener("htmx:configRequest", (event) => {
    const token = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/);
    if (token && event.detail.verb !== "get") {
      event.detail.headers["X-CSRFToken"] = token[1];
      delete event.detail.parameters.csrfmiddlewaretoken;
    }
  });

  // --- the Back button ----------------------------------------------------------------------------

  // htmx asks the server for the page to go back to. What was asked for before may come after it, and
  // must not be shown under the other's address.
  let restoring = null;
  document.body.addEventListener("htmx:historyCacheMiss", (event) => {
    restoring?.abort();
    restoring = event.detail.xhr;
    restoring.addEventListener("error", () => location.reload()); // the browser says what is wrong
  });
  document.body.addEventListener("htmx:beforeHistoryUpdate", () => restoring?.abort());
  document.body.addEventListener("htmx:historyCacheMissLoadError", () => location.reload());
  document.body.addEventListener("htmx:historyCacheMissLoad", (event) => {
    const signIn = event.detail.xhr.getResponseHeader("HX-Redirect");
    if (signIn) {
      location.assign(signIn);
    }
  });

  // --- forms --------------------------------------------------------------------------------------

  // A form that is on its way is not sent again, and its button says so.
  document.addEventListener("submit", (event) => {
    const words = event.target.dataset.busy;
    const button = event.target.querySelector("button[type=submit]");
    if (words && button) {
      button.dataset.words = button.textContent;
      button.textContent = words;
      button.disabled = true;
    }
  });
  function waitsNoMore(within) {
    within.querySelectorAll("button[data-words]").forEach((button) => {
      button.textContent = button.dataset.words;
      button.disabled = false;
      delete button.dataset.words;
    });
  }
  // The Back button may bring the page as it was left, and a form that was refused stays.
  window.addEventListener("pageshow", () => waitsNoMore(document));
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.xhr?.getResponseHeader("HX-Redirect")) {
      waitsNoMore(event.target);
    }
  });

  // What is wrong is where a person goes on.
  document.querySelector("[aria-invalid=true]")?.focus();
})();
