// The two places for messages. What a search says changes with every answer; what came of something that a person did stays until it
// is read: an answer that arrives meanwhile belongs to something else.
import { $, element } from "./dom.js"

const words = (title, advice) => (title ? [element("p", { class: "message-title" }, title), element("p", {}, advice)] : [])

// About the present search. level: error, warning, info, or sr (for screen readers only). action: a button, or null.
export function say(level, title, advice = "", action = null) {
  $("message").className = level
  $("message").replaceChildren(...words(title, advice), ...(action ? [action] : []))
}

// About an import or an export. It stays until it is closed, until the next one, or until another index is opened.
export function tell(level, title, advice = "") {
  const close = element("button", { type: "button", class: "quiet close", "aria-label": "Close this message", onclick: () => { silence(); $("main").focus() } }, "✕")
  $("notice").className = level
  $("notice").replaceChildren(...words(title, advice), close)
}

export function silence() { $("notice").replaceChildren() }
