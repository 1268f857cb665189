// Asks the gateway, keeps what was judged, and hands both to view.js. Credentials live in this tab's session storage only.
import { column, element, status } from "./view.js"

const $ = (id) => document.getElementById(id)
const session = window.sessionStorage
let asked = 0

class Refused extends Error {
  constructor(status, reason) { super(reason); this.status = status }
}

async function ask(method, path, body, type = "application/json") {
  const headers = { "content-type": type, accept: "application/json" }
  const credentials = session.getItem("authorization")
  if (credentials) headers.authorization = credentials
  const answer = await fetch(path, { method, headers, body, credentials: "omit" })
  const content = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Refused(answer.status, reasonOf(content) ?? answer.statusText)
  return content
}

// The root cause says more than "all shards failed".
function reasonOf(content) { return content.error?.root_cause?.[0]?.reason ?? content.error?.reason }

function say(text) { $("message").textContent = text }

function failed(error) {
  if (error.status === 401) {
    $("sign-in").hidden = false
    say("Sign in to search.")
  } else say(error.message)
}

// ---- what is asked

function hybrid(more = {}) {
  const filter = [...facetFilters(), ...($("filter").value.trim() ? [{ query_string: { query: $("filter").value.trim() } }] : [])]
  const size = Number($("size").value) || 10
  const asked = {
    query: $("query").value.trim(), alpha: Number($("alpha").value), fusion: $("fusion").value,
    rank_window_size: Math.max(size, Number($("window").value)), ...more,
  }
  if (filter.length) asked.filter = filter
  if (asked.fusion === "linear" && $("normalizer").value && !("alpha" in more)) asked.normalizer = $("normalizer").value
  if ("alpha" in more) delete asked.fusion
  return asked
}

function body(more) {
  const made = { size: Number($("size").value) || 10, query: { hybrid: hybrid(more) } }
  if ($("facet").value) made.aggs = { facet: { terms: { field: $("facet").value, size: 12 } } }
  return made
}

async function search() {
  const query = $("query").value.trim()
  if (!query || !$("index").value) return
  const turn = ++asked
  const shown = { explain: true }
  const searches = [body({ alpha: 0, inner_hits: {} }), body({ alpha: 1, inner_hits: {} }), body({ inner_hits: {} })]
  const lines = searches.flatMap((one) => [{}, { ...one, ...shown }]).map((line) => JSON.stringify(line)).join("\n") + "\n"
  try {
    const path = `/${encodeURIComponent($("index").value)}/_msearch`
    const { responses, took } = await ask("POST", path, lines, "application/x-ndjson")
    if (turn !== asked) return // a later one is on its way
    const broken = responses.find((one) => one.error)
    if (broken) throw new Refused(broken.status, reasonOf(broken))
    show(query, responses, took)
  } catch (error) { failed(error) }
}

function show(query, [lexical, semantic, blend], took) {
  const ranks = Object.fromEntries([["BM25", lexical], ["kNN", semantic]].map(([name, one]) =>
    [name, new Map(one.hits.hits.map((hit, place) => [`${hit._index}/${hit._id}`, place + 1]))]))
  const columns = [["BM25", lexical], ["Blend", blend], ["kNN", semantic]]
  $("results").replaceChildren(...columns.map(([name, one]) => column({
    name, hits: one.hits.hits, query, ranks, isBlend: name === "Blend", gradeOf, onGrade: judge,
  })))
  const total = blend.hits.total
  const degraded = (blend.esblend?.degraded ?? []).join("; ")
  say(`${total ? `${total.relation === "gte" ? "over " : ""}${total.value} hits` : ""} in ${took} ms. ${degraded}`.trim())
  showFacets(blend.aggregations?.facet?.buckets ?? [])
}

// ---- filters by facets

const chosen = new Set()

function facetFilters() {
  return chosen.size && $("facet").value ? [{ terms: { [$("facet").value]: [...chosen].map((one) => JSON.parse(one)) } }] : []
}

function showFacets(buckets) {
  $("facets").replaceChildren(...buckets.map((bucket) => {
    const value = JSON.stringify(bucket.key)
    return element("button", {
      type: "button", "aria-pressed": String(chosen.has(value)),
      onclick: () => { chosen.has(value) ? chosen.delete(value) : chosen.add(value); search() },
    }, `${bucket.key_as_string ?? bucket.key} (${bucket.doc_count})`)
  }))
}

// ---- judgements: query -> document id -> grade

const judgements = JSON.parse(session.getItem("judgements") ?? "{}")
const place = () => $("query").value.trim()

function gradeOf(hit) { return judgements[place()]?.[hit._id] }

function judge(hit, grade) {
  const given = (judgements[place()] ??= {})
  if (given[hit._id] === grade) delete given[hit._id]
  else given[hit._id] = grade
  session.setItem("judgements", JSON.stringify(judgements))
  for (const button of document.querySelectorAll(".hit .grades button")) {
    const id = button.closest(".hit").dataset.id
    button.setAttribute("aria-pressed", String(judgements[place()]?.[id] === Number(button.dataset.grade)))
  }
  countJudgements()
}

function rows() {
  return Object.entries(judgements).flatMap(([query, given]) => Object.entries(given).map(([id, grade]) => ({ query, id, grade })))
}

function countJudgements() {
  const all = rows()
  $("judged").value = all.length ? `${all.length} judgements of ${new Set(all.map((one) => one.query)).size} queries` : "None yet."
}

function quoted(text) { return `"${String(text).replaceAll('"', '""')}"` }

// The queries of a TREC file are numbered in the order in which they were asked; the CSV holds their texts, and is what eval reads.
function exported(kind) {
  const all = rows()
  if (kind === "csv") return ["query,document,grade", ...all.map((one) => [quoted(one.query), quoted(one.id), one.grade].join(","))]
  const numbers = new Map(Object.keys(judgements).map((query, number) => [query, number + 1]))
  return all.map((one) => `${numbers.get(one.query)} 0 ${one.id} ${one.grade}`)
}

function save(kind) {
  const file = new Blob([exported(kind).join("\n") + "\n"], { type: kind === "csv" ? "text/csv" : "text/plain" })
  const link = element("a", { href: URL.createObjectURL(file), download: kind === "csv" ? "judgements.csv" : "qrels.txt" })
  link.click()
  URL.revokeObjectURL(link.href)
}

// ---- copies

function copyOf(kind) {
  const index = $("index").value
  const made = JSON.stringify(body(), null, 2)
  if (kind === "console") return `GET /${encodeURIComponent(index)}/_search\n${made}`
  const url = `${location.origin}/${encodeURIComponent(index)}/_search`
  if (kind === "curl") return `curl '${url}' -H 'content-type: application/json' -d '${made.replaceAll("'", "'\\''")}'`
  return [
    "import json", "", "from elasticsearch import Elasticsearch", "", `es = Elasticsearch(${JSON.stringify(location.origin)})`,
    `body = json.loads(r'''${made.replaceAll("'''", "''\\u0027")}''')`, `answer = es.search(index=${JSON.stringify(index)}, body=body)`,
  ].join("\n")
}

async function copy(kind) {
  const text = copyOf(kind)
  $("copied").textContent = text
  try { await navigator.clipboard.writeText(text); say("Copied.") } catch { say("It stands below, to be copied by hand.") }
}

// ---- index, facets to choose from, status

async function loadIndices() {
  try {
    const found = await ask("GET", "/*/_mapping?filter_path=*.mappings._meta.esblend.active&expand_wildcards=open")
    const names = Object.keys(found).sort()
    $("index").replaceChildren(...names.map((name) => element("option", {}, name)))
    const wanted = new URLSearchParams(location.search).get("index")
    if (names.includes(wanted)) $("index").value = wanted
    $("sign-in").hidden = true
    $("sign-out").hidden = !session.getItem("authorization")
    say(names.length ? "" : "No index is attached yet: esblend attach INDEX --fields title,body")
    await chooseIndex()
  } catch (error) { failed(error) }
}

async function chooseIndex() {
  const index = $("index").value
  if (!index) return
  chosen.clear()
  const found = await ask("GET", `/${encodeURIComponent(index)}/_field_caps?fields=*&types=keyword,long,integer,boolean,date`)
  const fields = Object.entries(found.fields)
    .filter(([name, kinds]) => !name.startsWith("_") && !name.startsWith("esblend") && Object.values(kinds).every((kind) => kind.aggregatable))
    .map(([name]) => name).sort()
  $("facet").replaceChildren(element("option", { value: "" }, "none"), ...fields.map((name) => element("option", {}, name)))
  await showStatus()
  await search()
}

async function showStatus() {
  if (!$("index").value || document.hidden) return
  try {
    $("status").replaceChildren(...status(await ask("GET", `/_esblend/indices/${encodeURIComponent($("index").value)}/status`)))
  } catch { $("status").replaceChildren() }
}

// ---- what people do

let waiting
function soon() {
  clearTimeout(waiting)
  waiting = setTimeout(search, 120)
}

$("search").addEventListener("submit", (event) => { event.preventDefault(); search() })
for (const id of ["alpha", "window", "size", "filter"]) $(id).addEventListener("input", soon)
for (const id of ["fusion", "normalizer"]) $(id).addEventListener("change", search)
$("facet").addEventListener("change", () => { chosen.clear(); search() })
$("index").addEventListener("change", () => chooseIndex().catch(failed))
$("alpha").addEventListener("input", () => { $("alpha-shown").value = Number($("alpha").value).toFixed(2) })
$("window").addEventListener("input", () => { $("window-shown").value = $("window").value })
$("fusion").addEventListener("change", () => { $("normalizer").disabled = $("fusion").value !== "linear" })
$("export-qrels").addEventListener("click", () => save("qrels"))
$("export-csv").addEventListener("click", () => save("csv"))
$("forget").addEventListener("click", () => {
  for (const query of Object.keys(judgements)) delete judgements[query]
  session.removeItem("judgements")
  countJudgements()
  search()
})
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy))
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault()
  const user = $("user").value, secret = $("secret").value
  const bytes = new TextEncoder().encode(`${user}:${secret}`)
  session.setItem("authorization", user ? `Basic ${btoa(String.fromCharCode(...bytes))}` : `ApiKey ${secret}`)
  $("secret").value = ""
  loadIndices()
})
$("sign-out").addEventListener("click", () => { session.removeItem("authorization"); location.reload() })
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/input|select|textarea/i.test(document.activeElement.tagName)) { event.preventDefault(); $("query").focus() }
})

countJudgements()
loadIndices()
setInterval(showStatus, 2000)
