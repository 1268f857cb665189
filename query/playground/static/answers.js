// Reads answers. Pure: from hits to what is drawn.
import { MARK_END, MARK_START } from "./requests.js"

const TITLES = ["title", "name", "headline", "subject", "label"]
// English function words: an analyzer without a stop list matches them, and marking them hides the words that matter.
const STOP_WORDS = new Set(
  ("a about all am an and any are as at be been but by can could did do does for from had has have how i if in into is it its me my no " +
   "not of on or our should so some something than that the their them then there these they this those to was we were what when where " +
   "which who why will with would you your").split(" "))

export const keyOf = (hit) => `${hit._index}/${hit._id}`

export function titleOf(hit) {
  const source = hit._source ?? {}
  const name = TITLES.find((field) => typeof source[field] === "string" && source[field].trim())
  return name ? source[name].trim() : hit._id
}

export function passageOf(hit) {
  const text = hit.inner_hits?.passages?.hits?.hits?.[0]?.fields?.text?.[0] ?? ""
  const title = titleOf(hit)
  return (text.startsWith(title) ? text.slice(title.length) : text).trim()
}

// The longest text of a hit, whose beginning is shown where no passage is known.
export function mainText(hit) {
  const texts = Object.values(hit._source ?? {}).filter((value) => typeof value === "string")
  return texts.sort((a, b) => b.length - a.length)[0] ?? ""
}

// An answer whose hits have their explanations, which the gateway lists beside the hits.
export function withLegs(answer) {
  const explanations = answer.esblend?.explanations ?? []
  answer.hits.hits.forEach((hit, position) => { hit.legs = explanations[position]?.legs ?? [] })
  return answer
}

// What each leg adds to a hit's score; the values add up to it. [{leg, value, weight, normalized, rank, raw, dot}]
export function partsOf(hit) {
  return (hit.legs ?? []).map((leg) => ({
    leg: leg.leg, value: leg.contribution, weight: leg.weight, normalized: leg.normalized, rank: leg.rank, raw: leg.score,
    dot: leg.dot_product,
  }))
}

// The colour that a leg has everywhere.
export function kindOf(leg) {
  if (leg === "lexical") return "words"
  return leg.startsWith("semantic") ? "meaning" : "other"
}

export const labelOf = (leg) => ({ words: "words", meaning: leg.replace("semantic", "meaning"), other: leg })[kindOf(leg)]

// Where a hit is in a leg's list, in words. `ranks`: the visible list, by key; `window`: how far the leg looked.
export function rankIn(kind, hit, ranks, window) {
  const part = partsOf(hit).find((contribution) => kindOf(contribution.leg) === kind)
  const rank = ranks.get(keyOf(hit)) ?? part?.rank
  if (rank === undefined || rank === null) return null
  return rank <= window ? rank : null
}

export function ranksOf(hits) { return new Map(hits.map((hit, position) => [keyOf(hit), position + 1])) }

// How many of the first `depth` hits both lists have.
export function overlap(first, second, depth) {
  const keys = new Set(first.slice(0, depth).map(keyOf))
  return second.slice(0, depth).filter((hit) => keys.has(keyOf(hit))).length
}

// The word forms that Elasticsearch matched, lower-case, without function words unless the question holds nothing else.
export function matchedWords(hits) {
  const words = new Set()
  const marked = new RegExp(`${MARK_START}([^${MARK_END}]*)${MARK_END}`, "gu")
  for (const hit of hits) {
    for (const [, text] of Object.values(hit.highlight ?? {}).flat().flatMap((fragment) => [...fragment.matchAll(marked)])) {
      for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []) words.add(word)
    }
  }
  const telling = [...words].filter((word) => !STOP_WORDS.has(word))
  return new Set(telling.length ? telling : words)
}

// A text as [piece, isMatched] pairs.
export function split(text, words) {
  return text.split(/([\p{L}\p{N}]+)/u).filter(Boolean).map((piece) => [piece, words.has(piece.toLowerCase())])
}

// Round numbers from 0 to at or above a score, for the axis.
export function ticksTo(top) {
  if (!(top > 0)) return [0, 1]
  const size = 10 ** Math.floor(Math.log10(top))
  const step = [0.2, 0.25, 0.5, 1, 2, 2.5].map((share) => share * size).find((candidate) => top / candidate <= 4 + 1e-9)
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, number) => Number((number * step).toPrecision(6)))
}
