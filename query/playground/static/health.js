// One dot for the state of an index; the figures on demand.
import { count, element, percent } from "./dom.js"

// A status of the gateway as {level, text}: good, busy or bad.
export function healthOf(status) {
  if (status.paused) return { level: "bad", text: "Paused" }
  if (status.dead_letters > 0) return { level: "bad", text: count(status.dead_letters, "dead letter") }
  if (status.pending > 0) return { level: "busy", text: `${percent(status.coverage)} embedded` }
  return { level: "good", text: "Ready" }
}

// A generation that searches do not use is filled by a migration, or kept for a roll-back.
const roleOf = ({ active, missing }) => (active ? "" : missing ? ` (${count(missing, "document")} left)` : " (not active)")

export function drawHealth(status) {
  const { level, text } = healthOf(status)
  const backfill = status.backfill
  const facts = [
    ["Documents", status.documents.toLocaleString()],
    ["With vectors", `${status.embedded.toLocaleString()} (coverage ${percent(status.coverage)})`],
    ["Waiting for vectors", status.pending.toLocaleString()],
    ["Without text", status.without_text.toLocaleString()],
    ["Dead letters", status.dead_letters.toLocaleString()],
    ...(status.dropped ? [["Dropped", status.dropped.toLocaleString()]] : []),
    ["Lag", status.lag_seconds === null ? "unknown" : `${status.lag_seconds.toFixed(1)} s`],
    ["Backfill", backfill.paused ? "paused" : backfill.remaining ? `${backfill.remaining.toLocaleString()} left` : "finished"],
    ["Generation", Object.entries(status.generations).map(([name, generation]) => `${name}: ${generation.model}${roleOf(generation)}`).join(", ")],
  ]
  const advice = status.paused ? `New and changed texts get no vectors: ${status.paused}.`
    : level === "bad" ? `esblend dead-letters list ${status.index} shows them with their reasons.`
    : level === "busy" ? "Searches already find these documents by their words; their vectors follow." : null
  return [
    element("summary", {}, element("span", { class: `dot ${level}`, "aria-hidden": "true" }), element("span", { class: "health-text" }, text)),
    element("div", { class: "popover" },
      element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
      advice && element("p", { class: "note" }, advice)),
  ]
}

export function drawUnknown(reason) {
  return [
    element("summary", {}, element("span", { class: "dot unknown", "aria-hidden": "true" }), element("span", { class: "health-text" }, "State unknown")),
    element("div", { class: "popover" }, element("p", { class: "note" }, reason)),
  ]
}
