// The judging view: questions with their progress, and the pooled hits of one of them, blind and by keyboard.
import { keyOf, titleOf } from "./answers.js"
import { $, count, element, hasKeyboard } from "./dom.js"
import { oneLine, readFiles, toCsv, toTrec } from "./exchange.js"
import { searchAll } from "./gateway.js"
import { INDEX, explain } from "./judgements.js"
import { silence, tell } from "./messages.js"
import { passagesBody, poolBodies } from "./requests.js"
import { body } from "./results.js"

export const POOL_DEPTH = 10
const GRADES = ["not relevant", "somewhat", "good", "perfect"]

// Hits of all lists without repetition, in an order that depends on nothing but the question and the document.
export async function fetchPool(question, state, schema) {
  const { responses } = await searchAll(state.index, poolBodies(question, state, schema, POOL_DEPTH))
  const hits = new Map(responses.flatMap((response) => response.hits.hits).map((hit) => [keyOf(hit), hit]))
  if (!hits.size) return []
  const ids = [...new Set([...hits.values()].map((hit) => hit._id))]
  const { responses: [shown] } = await searchAll(state.index, [passagesBody(question, ids, state.a.generation, schema)])
  for (const hit of shown.hits.hits) if (hits.has(keyOf(hit))) hits.set(keyOf(hit), hit)
  return [...hits.values()].sort((a, b) => shuffled(question, a._id) - shuffled(question, b._id))
}

function shuffled(question, id) {
  let hash = 2166136261
  for (const letter of `${question}\n${id}`) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619)
  return (hash ^ (hash >>> 15)) >>> 0
}

// page: {state, judgements, pool: {question, hits} | null, rows, choose(question), judge(id, grade)}
export function drawJudging(page) {
  const { judgements, state } = page
  const questions = new Map(judgements.byQuestion)
  if (state.question && !questions.has(state.question)) questions.set(state.question, new Map())
  return [
    element("div", { class: "questions" },
      element("h2", {}, "Questions"),
      element("form", { class: "add", onsubmit: (event) => { event.preventDefault(); add(page, event.target) } },
        element("label", {}, element("span", { class: "sr" }, "Add a question"), element("input", { id: "new-question", autocomplete: "off", placeholder: "Add a question" })),
        element("button", {}, "Add")),
      questions.size
        ? element("ol", { id: "questions" }, ...[...questions].map(([question, grades]) => questionRow(page, question, grades)))
        : element("p", { class: "note" }, judgements.isReading ? "" : "No questions yet. Add those that people really ask, or import a file; 20 to 50 are enough for a first comparison."),
      place(page), files(page)),
    element("div", { class: "pool", id: "pool" }, ...pool(page, state)),
  ]
}

function add(page, form) {
  const question = oneLine(form.querySelector("input").value)
  if (!question) return
  form.reset()
  page.judgements.add([question])
  page.choose(question)
}

function questionRow(page, question, grades) {
  const isCurrent = question === page.state.question
  const total = isCurrent && page.pool?.question === question ? page.pool.hits.length : null
  const row = page.rows.find((entry) => entry.question === question)
  const judged = total === null ? grades.size : page.pool.hits.filter((hit) => grades.has(hit._id)).length
  const progress = total === null ? `${count(judged, "hit")} judged` : `${judged} of ${total} judged`
  const figures = row ? row.values.map((value, position) => `${row.values.length > 1 ? `${"AB"[position]} ` : ""}${value.toFixed(2)}`).join("  ") : ""
  return element("li", { "data-key": question },
    element("button", { type: "button", class: "question", "aria-current": isCurrent ? "true" : null, onclick: () => page.choose(question) },
      element("span", { class: "question-text" }, question),
      element("span", { class: "question-progress" },
        element("span", { class: "meter", "aria-hidden": "true", "--done": `${total ? (100 * judged) / total : grades.size ? 100 : 0}%` }),
        element("span", {}, progress), figures && element("span", { class: "question-figures", title: "nDCG@10" }, figures))),
    element("button", { type: "button", class: "quiet remove", "aria-label": `Remove ${question}`, onclick: () => {
      const { size } = page.judgements.gradesOf(question)
      if (!size || confirm(`Remove this question and its ${count(size, "judgement")}?`)) page.judgements.remove(question)
    } }, "✕"))
}

function place({ judgements }) {
  if (judgements.isReading) return element("p", { class: "note", id: "kept" }, "Reading the judgements of this index…")
  if (!judgements.problem) {
    const summary = judgements.count ? `${count(judgements.count, "judgement")}, kept` : "Judgements are kept"
    if (judgements.inTab().length) return element("p", { class: "note", id: "kept" }, "Saving judgements…")
    return element("p", { class: "note", id: "kept" }, `${summary} in the hidden index ${INDEX}.`)
  }
  return element("div", { class: "notice", id: "kept" }, ...explain(judgements.problem).map((text) => element("p", {}, text)))
}

function files(page) {
  const { judgements, state } = page
  const save = (kind) => () => exportFiles(page, kind)
  const input = element("input", { type: "file", id: "import", multiple: true, accept: ".csv,.tsv,.txt,.jsonl,.qrels", class: "sr", onchange: (event) => importFiles(page, event.target) })
  return element("div", { class: "files" },
    element("label", { class: "button" }, "Import…", input),
    element("button", { type: "button", id: "export-csv", disabled: !judgements.count, onclick: save("csv") }, "Export CSV"),
    element("button", { type: "button", id: "export-trec", disabled: !judgements.count, onclick: save("trec") }, "Export TREC"),
    judgements.count ? element("details", { class: "group" }, element("summary", {}, "Measure and tune with them"),
      element("pre", { tabindex: 0, "aria-label": "Commands" }, `esblend eval ${state.index} --qrels judgements.csv\nesblend tune ${state.index} --qrels judgements.csv`)) : null)
}

function exportFiles(page, kind) {
  const { judgements } = page
  silence()
  if (kind === "csv") return download("judgements.csv", "text/csv", toCsv(judgements.judged))
  const { queries, qrels, unfit } = toTrec(judgements.judged)
  if (unfit.length) return tell("error", "TREC’s format cannot hold ids with spaces.", `${count(unfit.length, "judged document")} has such an id, as “${unfit[0]}”. Export CSV instead.`)
  download("queries.jsonl", "application/jsonl", queries)
  return download("qrels.txt", "text/plain", qrels)
}

function download(name, type, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name })
  link.click()
  URL.revokeObjectURL(link.href)
}

async function importFiles(page, input) {
  try {
    const files = await Promise.all([...input.files].map(async (file) => ({ name: file.name, text: await file.text() })))
    const { questions, rows } = readFiles(files)
    const known = page.judgements.byQuestion
    page.judgements.record([
      ...questions.filter((query) => !known.has(query)).map((query) => ({ query })),
      ...rows.map(({ question, id, grade }) => ({ query: question, document: id, grade })),
    ])
    tell("info", `Imported ${count(questions.length, "question")} with ${count(rows.length, "judgement")}.`)
    if (!page.state.question && questions.length) page.choose(questions[0])
  } catch (error) { tell("error", "The file cannot be imported.", error.message) }
  input.value = ""
}

function pool(page, state) {
  const { judgements } = page
  const { question, hits } = page.pool ?? {}
  if (!state.question) return [element("p", { class: "empty" }, "Choose a question from the list, or add one.")]
  if (question !== state.question) return [element("h2", { class: "pool-title" }, state.question), element("p", { class: "loading", role: "status" }, "Collecting hits from all lists…")]
  const grades = judgements.gradesOf(question)
  const open = hits.filter((hit) => !grades.has(hit._id)).length
  const next = [...judgements.byQuestion.keys()].find((other) => other !== question && !judgements.gradesOf(other).size)
  return [
    element("header", { class: "pool-head" },
      element("h2", { class: "pool-title" }, question),
      element("p", { class: "note" }, `${hits.length - open} of ${hits.length} hits judged. They come from all lists, in no order. `,
        ...(hasKeyboard() ? keys() : []))),
    open === 0 && hits.length
      ? element("p", { class: "notice done", id: "all-judged", tabindex: -1 }, "All hits are judged. ", next && element("button", { type: "button", class: "link", id: "next-question", onclick: () => page.choose(next) }, `Next: ${next}`)) : null,
    hits.length ? element("ol", { class: "cards" }, ...hits.map((hit) => card(page, hit, grades.get(hit._id)))) : element("p", { class: "empty" }, "No list has a hit for this question."),
  ].filter(Boolean)
}

const keys = () => [
  element("kbd", {}, "0"), " to ", element("kbd", {}, "3"), " grade, ", element("kbd", {}, "↑"), " ", element("kbd", {}, "↓"), " move, ",
  element("kbd", {}, "N"), " opens the next question.",
]

function card(page, hit, grade) {
  return element("li", { class: grade === undefined ? "card" : "card is-judged", "data-id": hit._id, tabindex: 0, "aria-label": titleOf(hit) },
    element("h3", {}, titleOf(hit)),
    titleOf(hit) === hit._id ? null : element("p", { class: "facts" }, element("span", { class: "id" }, hit._id)),
    body(hit, new Set(), 4),
    element("div", { class: "grades", role: "group", "aria-label": `Grade of ${titleOf(hit)}` }, ...GRADES.map((name, value) => element("button", {
      type: "button", "aria-pressed": String(grade === value), "data-grade": value, onclick: () => page.judge(hit._id, grade === value ? null : value),
    }, element("kbd", {}, value), ` ${name}`))))
}

// Keys of the judging view. Gives the id that has the focus afterwards, or null where the key means nothing.
export function handleKey(page, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /input|select|textarea/i.test(event.target.tagName)) return
  const cards = [...$("pool").querySelectorAll(".card")]
  const position = cards.findIndex((item) => item.contains(document.activeElement))
  const open = cards.findIndex((item) => !item.classList.contains("is-judged"))
  if (event.key === "n" || event.key === "N") {
    const questions = [...page.judgements.byQuestion.keys()]
    if (questions.length) page.choose(questions[(questions.indexOf(page.state.question) + 1) % questions.length])
  } else if (/^[0-3]$/.test(event.key)) {
    const at = position >= 0 ? position : open // without a focused or an open card, a grade would replace another one
    if (!cards[at]) return
    const later = cards.findIndex((item, index) => index > at && !item.classList.contains("is-judged"))
    const target = cards[later >= 0 ? later : cards.findIndex((item, index) => index !== at && !item.classList.contains("is-judged"))]
    const isLast = !target && !cards[at].classList.contains("is-judged")
    page.judge(cards[at].dataset.id, Number(event.key))
    if (isLast) focusEnd()
    else focusCard((target ?? cards[at]).dataset.id)
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const target = cards[Math.min(cards.length - 1, Math.max(0, position < 0 ? 0 : position + (event.key === "ArrowDown" ? 1 : -1)))]
    if (!target) return
    focusCard(target.dataset.id)
  } else return
  event.preventDefault()
}

// After the last open card: the notice that all are judged, or its button that opens the next question.
function focusEnd() {
  const target = $("next-question") ?? $("all-judged")
  target?.focus({ preventScroll: true })
  target?.scrollIntoView({ block: "center" })
}

export function focusCard(id) {
  const target = [...$("pool").querySelectorAll(".card")].find((item) => item.dataset.id === id)
  target?.focus({ preventScroll: true })
  target?.scrollIntoView({ block: "center" })
}
