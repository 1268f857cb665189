// Measures rankings against judgements, with the same formula as `esblend eval`. Pure.

const DEPTH = 10

// nDCG@10 (Järvelin and Kekäläinen, TOIS 2002): gain = grade, discount = log2(rank + 1). An unjudged document gains nothing.
// ids: best first. grades: Map of id to grade.
export function ndcg(ids, grades) {
  const gain = (values) => values.slice(0, DEPTH).reduce((sum, value, position) => sum + Math.max(0, value) / Math.log2(position + 2), 0)
  const ideal = gain([...grades.values()].sort((a, b) => b - a))
  return ideal > 0 ? gain(ids.map((id) => grades.get(id) ?? 0)) / ideal : 0
}

// Share of the first ten that has a judgement.
export function judgedShare(ids, grades) {
  const first = ids.slice(0, DEPTH)
  return first.length ? first.filter((id) => grades.has(id)).length / first.length : 1
}

// Two-sided sign test: how probable so uneven a count of wins is where both are equally good. Ties do not count.
export function signTest(wins, losses) {
  const trials = wins + losses
  if (!trials) return 1
  let term = 0.5 ** trials
  let tail = 0
  for (let count = 0; count <= Math.min(wins, losses); count++) {
    tail += term
    term *= (trials - count) / (count + 1)
  }
  return Math.min(1, 2 * tail)
}

// rows: [{a, b}] of nDCG for each question. {a, b, wins (of B), losses, ties, p}
export function compare(rows) {
  const mean = (name) => (rows.length ? rows.reduce((sum, row) => sum + row[name], 0) / rows.length : 0)
  const wins = rows.filter((row) => row.b > row.a + 1e-9).length
  const losses = rows.filter((row) => row.a > row.b + 1e-9).length
  return { a: mean("a"), b: mean("b"), wins, losses, ties: rows.length - wins - losses, p: signTest(wins, losses) }
}

// The comparison as a sentence that claims no more than it knows.
export function verdict({ a, b, wins, losses, p }) {
  if (wins + losses === 0) return "No judged question tells A and B apart."
  if (Math.abs(a - b) < 5e-4) return "A and B are level so far."
  const [leader, better, worse] = b > a ? ["B", wins, losses] : ["A", losses, wins]
  const counts = `better on ${better}, worse on ${worse}`
  const certainty = p < 0.05 ? `more than chance (sign test, p = ${p < 0.001 ? "< 0.001" : p.toFixed(3)})` : "which may be chance: judge more questions"
  return `${leader} leads by ${Math.abs(a - b).toFixed(3)}, ${counts}, ${certainty}.`.replace("= <", "<")
}
