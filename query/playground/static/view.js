// Draws. Whatever comes from the index goes through textContent, so nothing in a document can become markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value)
    else if (value !== null && value !== undefined) made.setAttribute(key, value)
  }
  made.append(...children.filter((child) => child !== null))
  return made
}

// The text with the query's words marked.
export function marked(text, query) {
  const words = new Set(query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [])
  return text.split(/([\p{L}\p{N}]+)/u).map((part) =>
    words.has(part.toLowerCase()) ? element("mark", {}, part) : document.createTextNode(part))
}

export function passageOf(hit) {
  const inside = hit.inner_hits?.passages?.hits?.hits?.[0]
  return inside?.fields?.text?.[0] ?? ""
}

export function titleOf(hit) {
  const source = hit._source ?? {}
  const named = source.title ?? source.name ?? source.headline
  return typeof named === "string" && named ? named : hit._id
}

function beginningOf(hit) {
  const texts = Object.values(hit._source ?? {}).filter((value) => typeof value === "string")
  return texts.sort((a, b) => b.length - a.length)[0] ?? ""
}

// [{leg, value}] of a fused hit, from its explanation; they add up to its score.
export function contributions(hit) {
  return (hit._explanation?.details ?? []).map((part) => ({ leg: part.description.split(",")[0], value: part.value }))
}

function bar(hit, top) {
  const parts = contributions(hit)
  const words = parts.map((part) => `${part.leg} ${part.value.toFixed(3)}`).join(", ")
  const drawn = element("div", { class: "bar", role: "img", "aria-label": `Score ${hit._score.toFixed(3)}: ${words}` })
  for (const part of parts) {
    const piece = element("span", { class: part.leg, "data-value": part.value, title: `${part.leg} ${part.value.toFixed(4)}` })
    piece.style.width = `${(100 * Math.max(0, part.value)) / Math.max(top, 1e-9)}%`
    drawn.append(piece)
  }
  return [drawn, element("div", { class: "score" }, `${hit._score.toFixed(4)} = ${words}`)]
}

// How a hit of the blend stands against one of its legs: arrow, places and words for those who hear it.
function move(name, before, now) {
  if (before === undefined) return `${name}: not among its hits`
  if (before === now) return `${name}: = ${before}`
  return before > now ? `${name}: ↑ from ${before}` : `${name}: ↓ from ${before}`
}

export function column({ name, hits, query, ranks, isBlend, gradeOf, onGrade }) {
  const top = Math.max(...hits.map((hit) => contributions(hit).reduce((sum, part) => sum + Math.max(0, part.value), 0)), 0)
  const list = element("ol", {}, ...hits.map((hit, place) => {
    const text = passageOf(hit) || beginningOf(hit)
    const shown = text.length > 420 ? `${text.slice(0, 420)}…` : text
    const id = `${hit._index}/${hit._id}`
    return element("li", { class: "hit", "data-id": hit._id },
      element("h3", {}, element("span", { class: "rank" }, `${place + 1}. `), ...marked(titleOf(hit), query)),
      element("p", {}, ...marked(shown, query)),
      ...bar(hit, top),
      isBlend
        ? element("div", { class: "moves" }, Object.entries(ranks).map(([leg, at]) => move(leg, at.get(id), place + 1)).join("   "))
        : null,
      isBlend ? grades(hit, gradeOf(hit), onGrade) : null)
  }))
  return element("section", { class: "column", "aria-label": name }, element("h2", {}, name), list)
}

const GRADES = ["not relevant", "somewhat", "good", "perfect"]

function grades(hit, present, onGrade) {
  const title = titleOf(hit)
  return element("div", { class: "grades", role: "group", "aria-label": `Judge ${title}` },
    ...GRADES.map((name, grade) => element("button", {
      type: "button", "aria-pressed": String(present === grade), "data-grade": grade, onclick: () => onGrade(hit, grade),
    }, name)))
}

export function status(found) {
  const facts = [
    ["coverage", `${Math.floor(found.coverage * 1000) / 10} %`], ["documents", found.documents], ["pending", found.pending],
    ["queue", found.backfill.remaining], ["dead letters", found.dead_letters], ["lag", `${found.lag_seconds.toFixed(1)} s`],
    ["generation", Object.entries(found.generations).find(([, one]) => one.active)?.[0] ?? ""],
  ]
  return facts.map(([name, value]) => element("span", {}, `${name} `, element("b", {}, String(value))))
}
