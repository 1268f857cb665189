// Keeps the nDCG@10 of A and B on the judged questions up to date while settings and judgements change.
import { element } from "./dom.js"
import { searchAll } from "./gateway.js"
import { compare, judgedShare, ndcg, verdict } from "./measures.js"
import { rankingBody } from "./requests.js"

const DEPTH = 10
const AT_ONCE = 20 // searches in one request
const KEPT = 5000

export class ScoreBoard extends EventTarget {
  constructor(judgements) {
    super()
    this.judgements = judgements
    this.rankings = new Map() // search body as text -> ids, best first
    this.turn = 0
    this.done = 0
    this.failure = null
  }

  forget() { this.rankings.clear(); this.turn++ }

  bodiesFor(index, configs) {
    return [...this.judgements.judged.keys()].flatMap((question) =>
      configs.map((config) => JSON.stringify([index, rankingBody(question, { ...config, minScore: "" }, DEPTH)])))
  }

  // Searches what is not known yet. A later call ends an earlier one.
  async update(index, configs) {
    const turn = ++this.turn
    this.failure = null
    const missing = [...new Set(this.bodiesFor(index, configs))].filter((body) => !this.rankings.has(body))
    if (this.rankings.size > KEPT) this.rankings.clear()
    for (let start = 0; start < missing.length && turn === this.turn; start += AT_ONCE) {
      this.done = start / missing.length
      this.changed()
      const chunk = missing.slice(start, start + AT_ONCE)
      try {
        const { responses } = await searchAll(index, chunk.map((body) => JSON.parse(body)[1]))
        responses.forEach((response, position) => this.rankings.set(chunk[position], response.hits.hits.map((hit) => hit._id)))
      } catch (error) {
        this.failure = error
        break
      }
    }
    if (turn === this.turn) { this.done = 1; this.changed() }
  }

  // One row for each judged question whose rankings are known: {question, values: [nDCG of each config], judged}
  rows(index, configs) {
    return [...this.judgements.judged].map(([question, grades]) => {
      const rankings = configs.map((config) => this.rankings.get(JSON.stringify([index, rankingBody(question, { ...config, minScore: "" }, DEPTH)])))
      if (rankings.some((ranking) => ranking === undefined)) return null
      return {
        question, values: rankings.map((ranking) => ndcg(ranking, grades)),
        judged: rankings.reduce((sum, ranking) => sum + judgedShare(ranking, grades), 0) / rankings.length,
      }
    }).filter(Boolean)
  }

  changed() { this.dispatchEvent(new Event("change")) }
}

// rows: of ScoreBoard.rows; isComparing: whether there is a B.
export function drawScoreBoard(board, rows, isComparing, total) {
  if (!total) return [element("p", { class: "note" }, "Judge some hits, and nDCG@10 of these settings appears here.")]
  if (board.failure) return [element("p", { class: "note" }, `nDCG@10 cannot be measured: ${board.failure.message}`)]
  if (!rows.length) return [element("p", { class: "note" }, `nDCG@10: measuring ${total} judged ${total === 1 ? "question" : "questions"}…`)]
  const comparison = compare(rows.map(({ values: [a, b = a] }) => ({ a, b })))
  const share = rows.reduce((sum, row) => sum + row.judged, 0) / rows.length
  const progress = rows.length < total ? `${rows.length} of ${total} judged questions measured…` : `${total} judged ${total === 1 ? "question" : "questions"}, ${Math.round(share * 100)} % of the first ten judged`
  return [
    element("div", { class: "figures" },
      figure(isComparing ? "A" : "nDCG@10", comparison.a, isComparing && comparison.a > comparison.b, "a"),
      isComparing && figure("B", comparison.b, comparison.b > comparison.a, "b"),
      isComparing && duel(comparison)),
    isComparing && rows.length === total && element("p", { class: "verdict" }, verdict(comparison)),
    element("p", { class: "note" }, isComparing ? `nDCG@10, ${progress}` : progress),
  ].filter(Boolean)
}

function figure(name, value, isBest, letter) {
  return element("div", { class: isBest ? "figure-card best" : "figure-card", "data-name": letter },
    element("span", { class: "figure-name" }, name), element("b", {}, value.toFixed(3)))
}

// How many questions each wins, as one bar.
function duel({ wins, losses, ties }) {
  const part = (name, count, text) => element("span", { class: `duel-${name}`, "--share": count, title: `${text}: ${count}` }, count || "")
  return element("div", { class: "duel", role: "img", "aria-label": `A wins ${losses} questions, ${ties} are equal, B wins ${wins}` },
    part("a", losses, "A wins"), part("tie", ties, "equal"), part("b", wins, "B wins"))
}
