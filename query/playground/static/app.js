// Starts the page: joins the state, the gateway's answers, and what draws them.
import { matchedWords, withLegs } from "./answers.js"
import { setUpCopying } from "./copying.js"
import { $, debounced, element, hasKeyboard, option } from "./dom.js"
import { ask, inWords, scheme, searchAll, signIn, signOut } from "./gateway.js"
import { drawHealth, drawUnknown } from "./health.js"
import { Judgements } from "./judgements.js"
import { drawJudging, fetchPool, handleKey } from "./judging.js"
import { joinOnHover } from "./lines.js"
import { say, silence } from "./messages.js"
import { drawRail, facetValues } from "./rail.js"
import { keepFocus, update, whenReleased } from "./redrawing.js"
import { plainBody, searches } from "./requests.js"
import { drawResults, markGrades } from "./results.js"
import { listIndices, readSchema } from "./schema.js"
import { ScoreBoard, drawScoreBoard } from "./score_board.js"
import { addressOf, defaultsOf, readAddress, summary } from "./state.js"

const page = {
  state: readAddress(location.search), schema: null, defaults: null, facetBuckets: [], pool: null, rows: [],
  judgements: new Judgements(),
  searchNow: () => search(), searchSoon, redraw: redrawRail, choose, judge,
}
const searchAfterPause = debounced(() => search(), 150)
const board = new ScoreBoard(page.judgements)
let turn = 0 // of searches and pools: an answer of an earlier one is dropped
let opening = 0 // of indices
let lastTurn = null

function failed(error) {
  busy(false)
  if (error.status === undefined) throw error
  const [title, advice] = inWords(error) // before the credentials are forgotten: their kind decides the words
  if (!page.schema) $("results").replaceChildren() // hits of the index before
  if (error.status === 401) {
    if (error.hadCredentials) signOut()
    $("sign-in").hidden = false
    $("results").replaceChildren()
    $("results").hidden = true
  }
  const retry = [0, 429, 503].includes(error.status) && element("button", { type: "button", onclick: () => (page.schema ? search() : start()) }, "Try again")
  say("error", title, advice, retry || null)
}

function busy(isBusy) {
  $("progress").hidden = !isBusy
  $("results").setAttribute("aria-busy", String(isBusy))
}

// ---- searching

// The address changes at once, so that a reload before the search keeps the new setting. Hits of the settings before are not shown
// beside the new settings.
function searchSoon() {
  writeAddress(false)
  if (page.schema) {
    turn++
    busy(true)
  }
  searchAfterPause()
}

async function search({ isNew = false } = {}) {
  const { state } = page
  writeAddress(isNew)
  if (!page.schema) return
  if (state.view === "judge") return judgeView()
  measure()
  const current = ++turn
  if (!state.question) return welcome()
  busy(true)
  if (!$("results").querySelector(".column")) $("results").replaceChildren(skeleton())
  const bodies = searches(state, page.schema)
  const names = Object.keys(bodies)
  try {
    const { responses, took } = await searchAll(state.index, Object.values(bodies))
    if (current !== turn) return // a later search is on its way
    const answers = Object.fromEntries(names.map((name, position) => [name, withLegs(responses[position])]))
    whenReleased($("results"), () => {
      if (current !== turn) return
      busy(false)
      show(answers, took)
    })
  } catch (error) {
    if (current !== turn) return
    if (!$("results").querySelector(".column")) $("results").replaceChildren()
    failed(error)
  }
}

function show(answers, took) {
  const { state, schema, defaults } = page
  const names = state.compare ? ["a", "b"] : ["a"]
  lastTurn = {
    state, answers, question: state.question, ticks: lastTurn?.ticks, found: foundIn(answers.a, took), matched: matchedWords([answers.words, ...names.map((name) => answers[name])].flatMap((answer) => answer.hits.hits)),
    window: Number(state.a.window) || defaults.window, shownFields: state.shown ?? schema.shown, onCut,
    summaries: { a: summary(state.a, defaults), b: summary(state.b, defaults) },
  }
  const cut = document.activeElement?.dataset?.cut
  $("results").hidden = false
  $("results").replaceChildren(...drawResults(lastTurn))
  showGrades()
  if (cut) document.querySelector(`[data-cut="${cut}"]`)?.focus()
  page.facetBuckets = answers.facet?.aggregations?.values?.buckets ?? []
  if ($("facets")) update($("facets"), facetValues(page))
  const degraded = names.flatMap((name) => answers[name].esblend?.degraded ?? [])
  if (degraded.length) say("warning", "Answered by the words alone: the meaning could not be searched.", [...new Set(degraded)].join("; "))
  else say("sr", lastTurn.found)
  showTab()
}

function showGrades() {
  const grades = page.judgements.gradesOf(lastTurn?.question)
  markGrades($("results"), (id) => grades.get(id))
}

function foundIn({ hits: { total } }, took) {
  const number = total ? `${total.relation === "gte" ? "over " : ""}${total.value.toLocaleString()} ${total.value === 1 ? "hit" : "hits"}` : "Answered"
  return `${number} in ${took < 1000 ? `${took} ms` : `${(took / 1000).toFixed(1)} s`}`
}

const skeleton = () => element("div", { class: "skeleton", "aria-hidden": "true" }, ...Array.from({ length: 4 }, () => element("span")))

function welcome() {
  busy(false)
  say("", "")
  $("results").hidden = false
  $("results").replaceChildren(element("div", { class: "welcome" },
    element("h2", {}, "Ask a question"),
    element("p", {}, "The blend appears first. Each bar shows how much of a hit’s score comes from its ", element("b", { class: "words-text" }, "words"), " (BM25) and how much from its ", element("b", { class: "meaning-text" }, "meaning"), " (kNN)."),
    element("p", { class: "note" }, `${hasKeyboard() ? "Point at a hit to see where each list ranks it. " : ""}Move the slider to change the blend. Judge hits to measure it.`)))
}

function onCut(name, value) {
  page.state[name].minScore = value
  searchSoon()
}

// ---- the score board

const measure = debounced(async () => {
  const { state, judgements } = page
  if (page.schema && judgements.judged.size && (state.compare || state.view === "judge")) await board.update(state.index, configs())
  else drawBoard()
}, 300)

const configs = () => (page.state.compare ? [page.state.a, page.state.b] : [page.state.a])

function drawBoard() {
  const { state, judgements } = page
  page.rows = board.rows(state.index, configs())
  $("score-board").hidden = !page.schema || !(state.view === "judge" || state.compare)
  $("score-board").replaceChildren(...drawScoreBoard(board, page.rows, state.compare, judgements.judged.size))
  if (state.view === "judge" && page.schema) drawJudge()
}

// ---- judging

const drawJudge = () => keepFocus($("judging"), () => update($("judging"), drawJudging(page)))

async function judgeView() {
  const { state } = page
  const current = ++turn // what the view before has asked is not shown in this one
  const key = poolKey()
  const isKnown = !state.question || page.pool?.question === state.question && page.pool.of === key
  say("", "")
  busy(!isKnown)
  drawJudge()
  measure()
  if (isKnown) return
  try {
    const hits = await fetchPool(state.question, state, page.schema)
    if (current !== turn) return
    page.pool = { question: state.question, of: key, hits }
    busy(false)
    drawJudge()
  } catch (error) { if (current === turn) failed(error) }
}

const poolKey = () => JSON.stringify([page.state.index, ...configs().map((config) => ({ ...config, minScore: "" }))])

function choose(question) {
  page.state.question = question
  $("query").value = question
  search({ isNew: true })
}

function judge(id, grade) { page.judgements.judge(page.state.question, id, grade) }

page.judgements.addEventListener("change", () => {
  showGrades()
  drawBoard()
  measure()
})
board.addEventListener("change", drawBoard)

// ---- the parts of the page

function redrawRail() {
  if (page.schema) keepFocus($("rail"), () => $("rail").replaceChildren(...drawRail(page)))
}

function showTab() {
  const { compare, tab } = page.state
  const lists = compare ? ["a", "b", "rail"] : ["a", "words", "meaning", "rail"]
  document.body.dataset.tab = lists.includes(tab) ? tab : "a"
  document.body.classList.toggle("comparing", compare)
  for (const button of document.querySelectorAll(".tabs button")) {
    button.hidden = !lists.includes(button.dataset.tab)
    button.setAttribute("aria-pressed", String(button.dataset.tab === document.body.dataset.tab))
  }
  document.querySelector(".tabs [data-tab=a]").textContent = compare ? "A" : "Blend"
}

function showView() {
  const { view } = page.state
  document.body.dataset.view = view
  $("judging").hidden = view !== "judge" || !page.schema
  $("results").hidden = view === "judge"
  for (const button of document.querySelectorAll(".views button")) button.setAttribute("aria-pressed", String(button.dataset.view === view))
  showTab()
  drawBoard()
}

function writeAddress(isNew) {
  const address = addressOf(page.state)
  if (address !== location.search) history[isNew ? "pushState" : "replaceState"](null, "", address)
}

// ---- index and state of the index

async function start() {
  const current = ++opening
  let names
  try {
    names = await listIndices()
  } catch (error) {
    if (current === opening) failed(error)
    return
  }
  if (current !== opening) return // another index is being opened
  const { state } = page
  if (state.index && !names.includes(state.index)) names.push(state.index)
  $("sign-in").hidden = true
  $("sign-out").hidden = scheme() === "none"
  if (!names.length) return say("info", "No index is attached yet.", "Attach one with: esblend attach INDEX --fields title,body. If you may search an index but not read its mapping, add ?index=NAME to this page’s address.")
  state.index = state.index || names[0]
  $("index").replaceChildren(...names.map((name) => option(name, name, name === state.index)))
  await openIndex()
}

async function openIndex() {
  const { state } = page
  const current = ++opening
  turn++ // a search of the index before is not shown in this one
  Object.assign(page, { schema: null, pool: null })
  board.forget()
  silence()
  showView()
  busy(true)
  let schema
  try {
    schema = await readSchema(state.index)
  } catch (error) {
    if (current === opening) failed(error)
    return
  }
  if (current !== opening) return
  page.schema = schema
  page.defaults = defaultsOf(schema)
  page.judgements.open(state.index) // before anything of the index before could be judged
  redrawRail()
  showView()
  showHealth()
  await search()
}

let healthTimer
async function showHealth() {
  clearTimeout(healthTimer)
  const { state } = page
  if (!state.index || document.hidden) return
  let wait = 15_000
  const { index } = state
  let shown
  try {
    const status = await ask("GET", `/_esblend/indices/${encodeURIComponent(index)}/status`)
    shown = drawHealth(status)
    if (status.pending) wait = 2_000
  } catch (error) { shown = drawUnknown(error.message) }
  if (index !== state.index) return // of the index before
  update($("health"), shown)
  clearTimeout(healthTimer)
  healthTimer = setTimeout(showHealth, wait)
}

// ---- what people do

if (hasKeyboard()) $("query").placeholder += ". Press / to type."
$("query").value = page.state.question
$("search").addEventListener("submit", (event) => {
  event.preventDefault()
  const question = $("query").value.trim()
  page.state.question = question
  search({ isNew: true })
})
$("index").addEventListener("change", () => {
  Object.assign(page.state, { index: $("index").value, filter: "", facet: "", values: [], shown: null })
  for (const config of [page.state.a, page.state.b]) Object.assign(config, { fields: "", generation: "" })
  openIndex()
})
for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => {
    page.state.view = button.dataset.view
    showView()
    search({ isNew: true })
  })
}
for (const button of document.querySelectorAll(".tabs button")) {
  button.addEventListener("click", () => {
    page.state.tab = button.dataset.tab
    showTab()
    writeAddress(false)
  })
}
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault()
  signIn($("user").value, $("secret").value)
  $("secret").value = ""
  say("", "")
  start()
})
$("sign-out").addEventListener("click", () => { signOut(); location.reload() })
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/input|select|textarea/i.test(document.activeElement.tagName)) { event.preventDefault(); $("query").focus() }
  else if (page.state.view === "judge" && page.schema) handleKey(page, event)
})
document.addEventListener("click", (event) => { if (!$("health").contains(event.target)) $("health").open = false })
addEventListener("popstate", () => {
  const { index } = page.state
  Object.assign(page.state, readAddress(location.search))
  $("query").value = page.state.question
  if (page.state.index && page.state.index !== index) return void start()
  page.state.index = index
  redrawRail()
  showView()
  search()
})
document.addEventListener("visibilitychange", () => { if (!document.hidden) showHealth() })
setUpCopying(() => ({ origin: location.origin, index: page.state.index, body: plainBody(page.state, page.state.editing), scheme: scheme() }))
joinOnHover($("results"))
showTab()
start()
