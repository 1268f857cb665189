// Keeps judgements with the indices: in a hidden index of their own, written with the caller's rights.
//
// One document for each question, and one for each judged hit of it. Its id is made of index, question and document, so that writing it
// again changes the grade, and two people never overwrite more than the same judgement. Where the caller may not write there, judgements
// stay in this tab's session storage until they are exported or can be written.
import { ask, send } from "./gateway.js"

export const INDEX = ".esblend-judgements"
const PAGE = 1000
const MAPPING = {
  settings: { "index.hidden": true, "index.number_of_shards": 1, "index.auto_expand_replicas": "0-1" },
  mappings: { dynamic: "strict", properties: {
    index: { type: "keyword" }, key: { type: "keyword" }, query: { type: "text", index: false }, document: { type: "keyword", index: false, doc_values: false },
    grade: { type: "byte" }, at: { type: "date" },
  } },
}

export class Judgements extends EventTarget {
  constructor() {
    super()
    this.byQuestion = new Map() // question -> Map of id to grade, in the order in which they were added
    this.problem = null // why they stay in this tab, or null
    this.exists = false
    this.since = null // rows recorded while the index's judgements are read, else null
    this.reading = this.writing = Promise.resolve()
  }

  get isReading() { return this.since !== null }
  get count() { return [...this.byQuestion.values()].reduce((sum, grades) => sum + grades.size, 0) }
  get judged() { return new Map([...this.byQuestion].filter(([, grades]) => grades.size)) }
  gradesOf(question) { return this.byQuestion.get(question) ?? new Map() }

  async open(index) {
    const since = []
    Object.assign(this, { index, since, byQuestion: new Map(), problem: null })
    // A search fails on an index that is being created, and before it is read nobody knows whether the index exists.
    this.reading = this.writing.then(() => this.readAll(index)).then((rows) => ({ rows, problem: null }), (problem) => ({ rows: [], problem }))
    const { rows, problem } = await this.reading
    if (since !== this.since) return // opened again
    const pending = this.inTab()
    Object.assign(this, { problem, byQuestion: new Map(), since: null })
    for (const row of [...rows, ...pending, ...since]) this.take(row) // what was judged meanwhile is newer than what was read
    if (pending.length && !problem) this.write(pending)
    this.changed()
  }

  async readAll(index) {
    const rows = []
    for (let after, hits; !hits || hits.length === PAGE; after = hits[hits.length - 1].sort) {
      const body = { size: PAGE, query: { term: { index } }, sort: [{ at: "asc" }, { key: "asc" }], ...(after && { search_after: after }) }
      const answer = await send("POST", `/${INDEX}/_search?ignore_unavailable=true`, body)
      this.exists = answer._shards.total > 0 // also false where the caller may not read it
      hits = answer.hits.hits
      rows.push(...hits.map((hit) => hit._source))
      if (!hits.length) break
    }
    return rows
  }

  take({ query, document, grade, isRemoved }) {
    if (isRemoved) {
      this.byQuestion.delete(query)
      return
    }
    if (!this.byQuestion.has(query)) this.byQuestion.set(query, new Map())
    if (document === undefined || document === null) return
    if (grade === null) this.byQuestion.get(query).delete(document)
    else this.byQuestion.get(query).set(document, grade)
  }

  // rows: [{query, document?, grade?}]; grade null removes the judgement.
  record(rows) {
    const now = Date.now()
    // A millisecond apart, so that they are read back in the order in which they were made.
    const judgements = rows.map((row, position) => ({ ...row, index: this.index, at: new Date(now + position).toISOString() }))
    judgements.forEach((row) => this.take(row))
    this.since?.push(...judgements)
    this.changed()
    this.write(judgements)
  }

  add(questions) { this.record(questions.filter((query) => !this.byQuestion.has(query)).map((query) => ({ query }))) }

  judge(query, document, grade) {
    this.record([...(this.byQuestion.has(query) ? [] : [{ query }]), { query, document, grade }])
  }

  remove(question) {
    const rows = [...this.gradesOf(question).keys()].map((document) => ({ query: question, document, grade: null }))
    this.record([...rows, { query: question, isRemoved: true }])
  }

  // One write after the other: a judgement that is changed twice ends with the last value. Rows of an earlier write that failed go with
  // the next one.
  write(made) {
    const index = this.index
    this.keepInTab(made)
    this.writing = Promise.all([this.writing, this.reading]).then(async () => {
      const rows = Object.values(this.pendingOf(index))
      if (!rows.length) return
      try {
        if (!this.exists) await this.create()
        const lines = rows.flatMap((row) => actionOf(row)).map((line) => JSON.stringify(line)).join("\n")
        const { errors, items } = await ask("POST", `/${INDEX}/_bulk?refresh=true`, `${lines}\n`, "application/x-ndjson")
        const refusal = errors && items.map((item) => Object.values(item)[0]).find((item) => item.error && item.status !== 404)
        if (refusal) throw Object.assign(new Error(refusal.error.reason), { status: refusal.status })
        if (index === this.index) this.problem = null
        this.forgetInTab(index, rows)
      } catch (error) { if (index === this.index) this.problem = error }
      this.changed()
    })
    return this.writing
  }

  async create() {
    await send("PUT", `/${INDEX}`, MAPPING).catch((error) => {
      if (!/already exists/.test(error.message)) throw error
    })
    this.exists = true
  }

  // Rows that are not in the index yet, by their ids.
  pendingOf(index) { return JSON.parse(sessionStorage.getItem(`judgements of ${index}`) ?? "{}") }
  inTab() { return Object.values(this.pendingOf(this.index)) }
  keepInTab(rows) {
    const pending = this.pendingOf(this.index)
    for (const row of rows) pending[keyOf(row)] = row
    sessionStorage.setItem(`judgements of ${this.index}`, JSON.stringify(pending))
  }
  forgetInTab(index, rows) {
    const pending = this.pendingOf(index)
    for (const row of rows) if (pending[keyOf(row)]?.at === row.at) delete pending[keyOf(row)]
    sessionStorage.setItem(`judgements of ${index}`, JSON.stringify(pending))
  }

  changed() { this.dispatchEvent(new Event("change")) }
}

function actionOf(row) {
  const { isRemoved, ...source } = row
  const _id = keyOf(row)
  return isRemoved || row.grade === null ? [{ delete: { _id } }] : [{ index: { _id } }, { ...source, key: _id }]
}

// FNV-1a of 128 bits (draft-eastlake-fnv): short enough for an `_id`, the same in every browser. crypto.subtle exists only on https.
function keyOf({ index, query, document }) {
  let hash = 144066263297769815596495629667062367629n
  for (const byte of new TextEncoder().encode(JSON.stringify([index, query, document ?? null]))) {
    hash = BigInt.asUintN(128, (hash ^ BigInt(byte)) * 309485009821345068724781371n)
  }
  return hash.toString(16).padStart(32, "0")
}

// Why judgements stay in this tab, and what to do, as two sentences.
export function explain(problem) {
  if (problem.status === 403) {
    return ["You may not write to the index " + INDEX + ", so judgements stay in this tab.",
      `Ask for the privileges read, write and (until it exists) create_index on ${INDEX}, or export them before you close the tab.`]
  }
  return ["The judgements could not be saved, so they stay in this tab.", `${problem.message} Export them before you close the tab.`]
}
