// Draws the results: one or two blends with their score axis, and the legs as narrow rank lists beside them.
import { keyOf, kindOf, labelOf, mainText, overlap, partsOf, passageOf, rankIn, ranksOf, split, ticksTo, titleOf } from "./answers.js"
import { element } from "./dom.js"

export const LEG_NAMES = { words: "BM25", meaning: "kNN" }
const LEG_SUBTITLES = { words: "words", meaning: "meaning" }

// turn: {state, answers, matched (Set), window, shownFields, onCut(name, value), summaries}
export function drawResults(turn) {
  const { state, answers } = turn
  const names = state.compare ? ["a", "b"] : ["a"]
  const tops = names.map((name) => answers[name].hits.hits[0]?._score).filter((score) => score > 0)
  // Where the lowest score leaves no hit, the axis stays as it was.
  turn.ticks = tops.length || !turn.ticks ? ticksTo(Math.max(...tops, 0)) : turn.ticks
  const end = turn.ticks[turn.ticks.length - 1]
  const legs = Object.fromEntries(["words", "meaning"].map((kind) => [kind, ranksOf(answers[kind].hits.hits)]))
  const columns = names.map((name) => blendColumn(turn, name, { legs, end, names }))
  if (!state.compare) columns.push(...["words", "meaning"].map((kind) => legColumn(turn, kind)))
  return columns
}

export function overlapSentence({ answers, state }) {
  const first = answers.words.hits.hits, second = answers.meaning.hits.hits
  const depth = Math.min(state.size, Math.max(first.length, second.length))
  return depth ? `, ${overlap(first, second, depth)} of the first ${depth} in both lists` : ""
}

function blendColumn(turn, name, { legs, end, names }) {
  const { state, answers } = turn
  const hits = answers[name].hits.hits
  const other = names.find((letter) => letter !== name)
  const against = other ? ranksOf(answers[other].hits.hits) : null
  const label = other ? name.toUpperCase() : "Blend"
  return element("section", { class: "column blend", "aria-label": label, "data-column": name, "data-list": name },
    element("header", { class: "column-head" },
      element("h2", {}, other ? element("span", { class: `letter letter-${name}` }, label) : label),
      element("p", { class: "note" }, other ? turn.summaries[name] : `${turn.found}${overlapSentence(turn)}`)),
    axis(turn, name, end),
    hits.length
      ? element("ol", { "--cut-share": cutAt(state[name].minScore, end), class: Number(state[name].minScore) > 0 ? "hits has-cut" : "hits" },
        ...hits.map((hit, position) => blendHit(turn, hit, { rank: position + 1, legs, end, against, other })))
      : element("p", { class: "empty" }, emptyText(state, name)))
}

function cutAt(minScore, end) { return Math.min(1, Math.max(0, Number(minScore || 0) / end)) }

function emptyText(state, name) {
  if (Number(state[name].minScore) > 0) return `No hit reaches a score of ${state[name].minScore}. Move the lowest score to the left.`
  if (isFiltered(state)) return "No document passes the filters and matches. Remove a filter, or ask in other words."
  return "No document matches. Ask in other words, or check which fields are searched."
}

function axis(turn, name, end) {
  const cut = turn.state[name].minScore
  const shown = element("output", { class: "cut-value" }, cut ? `≥ ${Number(cut).toFixed(2)}` : "off")
  const slider = element("input", {
    type: "range", min: 0, max: end, step: end / 100, value: cut || 0, class: "cut", "aria-label": "Lowest score that is shown (min_score)",
    "data-cut": name,
    oninput: (event) => {
      const value = Number(event.target.value)
      shown.value = value > 0 ? `≥ ${value.toFixed(2)}` : "off"
      turn.onCut(name, value > 0 ? String(Number(value.toPrecision(3))) : "")
    },
  })
  const ticks = turn.ticks.map((value) => element("span", { "--at": value / end }, String(value)))
  return element("div", { class: "axis" },
    element("div", { class: "axis-label" }, element("span", {}, "score"), element("span", {}, "lowest score shown ", shown)),
    element("div", { class: "axis-scale" }, element("div", { class: "ticks", "aria-hidden": "true" }, ...ticks), slider))
}

function blendHit(turn, hit, { rank, legs, end, against, other }) {
  const key = keyOf(hit)
  return element("li", { class: "hit", "data-key": key, "data-id": hit._id, tabindex: 0, "aria-label": `${rank}. ${titleOf(hit)}` },
    element("div", { class: "hit-head" },
      element("span", { class: "rank" }, rank),
      element("h3", {}, ...marked(titleOf(hit), turn.matched))),
    facts(hit, turn.shownFields),
    body(hit, turn.matched),
    bar(hit, end),
    element("p", { class: "moves" },
      place("words", rankIn("words", hit, legs.words, turn.window)),
      place("meaning", rankIn("meaning", hit, legs.meaning, turn.window)),
      against ? move(other, against.get(key), rank) : null,
      element("span", { class: "score", "data-score": hit._score }, sum(hit))))
}

// Id and chosen fields, as one quiet line.
function facts(hit, fields) {
  const values = fields.map((field) => [field, valueOf(hit._source, field)]).filter(([, value]) => value !== undefined && value !== hit._id)
  const id = titleOf(hit) === hit._id ? [] : [element("span", { class: "id" }, hit._id)]
  const parts = [...id, ...values.map(([field, value]) => element("span", {}, element("span", { class: "field" }, `${field} `), String(value)))]
  return parts.length ? element("p", { class: "facts" }, ...parts) : null
}

function valueOf(source, path) {
  const value = path.split(".").reduce((inside, step) => inside?.[step], source ?? {}) ?? source?.[path]
  return value === null || typeof value === "object" && !Array.isArray(value) ? undefined : value
}

// Three lines of the best passage, or of the text where no vector found the hit; "more" shows all text fields.
export function body(hit, matched, lines = 3) {
  const passage = passageOf(hit)
  const text = passage || mainText(hit)
  const short = element("p", { class: passage ? "text passage" : "text", "--lines": lines }, ...marked(text.slice(0, 1200), matched))
  if (passage) short.prepend(element("span", { class: "passage-label" }, "best passage"))
  const whole = element("div", { class: "whole", hidden: true })
  const more = element("button", { type: "button", class: "more", "aria-expanded": "false", onclick: (event) => {
    event.stopPropagation()
    const opens = whole.hidden
    if (opens && !whole.childElementCount) whole.append(...wholeText(hit, passage, matched))
    whole.hidden = !opens
    short.hidden = opens
    more.textContent = opens ? "less" : "more"
    more.setAttribute("aria-expanded", String(opens))
  } }, "more")
  return element("div", { class: "body" }, short, whole, more)
}

function wholeText(hit, passage, matched) {
  return Object.entries(hit._source ?? {}).filter(([, value]) => typeof value !== "object" || Array.isArray(value)).flatMap(([name, value]) => {
    const text = String(value)
    const start = passage.length > 20 ? text.indexOf(passage) : -1
    const inside = start < 0 ? marked(text, matched) : [
      ...marked(text.slice(0, start), matched),
      element("span", { class: "passage" }, ...marked(passage, matched)),
      ...marked(text.slice(start + passage.length), matched),
    ]
    return [element("p", { class: "field-name" }, name), element("p", { class: "field-value" }, ...inside)]
  })
}

export function marked(text, matched) {
  return split(text, matched).map(([piece, isMatched]) => (isMatched ? element("mark", {}, piece) : piece))
}

function bar(hit, end) {
  const parts = partsOf(hit)
  const words = parts.map((part) => `${labelOf(part.leg)} ${part.value.toFixed(3)}`).join(", ")
  // The line of the lowest score crosses the bar, which clips what it holds.
  return element("div", { class: "bar-row" }, element("div", { class: "bar", role: "img", "aria-label": `Score ${hit._score.toFixed(3)}: ${words}` },
    ...parts.map((part) => element("span", {
      class: kindOf(part.leg), "data-value": part.value, "--width": `${(100 * Math.max(0, part.value)) / end}%`, title: describe(part),
    }))))
}

function describe(part) {
  const raw = part.dot ?? part.raw
  const contribution = `${labelOf(part.leg)}: ${part.value.toFixed(4)}`
  return raw === undefined ? `${contribution} (not in its list)` : `${contribution} = weight ${part.weight.toFixed(2)} × ${part.normalized.toFixed(4)} (${part.dot === undefined ? "raw score" : "dot product"} ${raw.toFixed(4)})`
}

function sum(hit) {
  const parts = partsOf(hit).filter((part) => part.value !== 0)
  const figures = [element("b", {}, hit._score.toFixed(3))]
  parts.forEach((part, position) => {
    const sign = part.value < 0 ? "−" : position ? "+" : ""
    figures.push(position ? ` ${sign} ` : ` = ${sign}`, element("span", { class: `figure ${kindOf(part.leg)}` }, Math.abs(part.value).toFixed(3)))
  })
  return parts.length > 1 ? figures : [figures[0]]
}

function place(kind, rank) {
  const text = rank === null ? "not in its list" : `#${rank}`
  return element("span", { class: rank === null ? `place ${kind} absent` : `place ${kind}` }, `${LEG_SUBTITLES[kind]} ${text}`)
}

function move(other, before, now) {
  const name = other.toUpperCase()
  if (before === undefined) return element("span", { class: "move" }, `not on ${name}’s page`)
  if (before === now) return element("span", { class: "move" }, `same rank in ${name}`)
  return element("span", { class: "move" }, before > now ? `↑ from ${before} in ${name}` : `↓ from ${before} in ${name}`)
}

const GRADES = ["not relevant", "somewhat relevant", "good", "perfect"]

// Shows the grade of each hit that has one. gradeOf: gives the grade of an id, or undefined.
export function markGrades(container, gradeOf) {
  for (const hit of container.querySelectorAll(".hit")) {
    const value = gradeOf(hit.dataset.id)
    hit.querySelector(".grade")?.remove()
    if (value !== undefined) hit.querySelector(".hit-head").append(element("span", { class: "grade", title: `Judged: ${GRADES[value] ?? value}` }, `judged ${value}`))
  }
}

function legColumn(turn, kind) {
  const hits = turn.answers[kind].hits.hits
  const top = hits[0]?._score ?? 1
  const inBlend = ranksOf(turn.answers.a.hits.hits)
  return element("section", { class: `column leg ${kind}`, "aria-label": LEG_NAMES[kind], "data-column": kind, "data-list": kind },
    element("header", { class: "column-head" },
      element("h2", {}, LEG_NAMES[kind], " ", element("span", { class: "subtitle" }, LEG_SUBTITLES[kind]))),
    hits.length
      ? element("ol", {}, ...hits.map((hit, position) => element("li", {
        class: inBlend.has(keyOf(hit)) ? "row" : "row not-in-blend", "data-key": keyOf(hit), "data-id": hit._id, tabindex: 0,
        title: `${titleOf(hit)}: ${hit._score.toFixed(3)}`, "--row-share": Math.max(0, hit._score) / Math.max(top, 1e-9),
      }, element("span", { class: "rank" }, position + 1), element("span", { class: "title" }, titleOf(hit)))))
      : element("p", { class: "empty" }, emptyLegText(turn.state, kind)))
}

function emptyLegText(state, kind) {
  if (isFiltered(state)) return "No document passes the filters."
  return kind === "words" ? "No document has these words." : "No document has vectors yet."
}

const isFiltered = (state) => Boolean(state.filter.trim() || state.values.length)

