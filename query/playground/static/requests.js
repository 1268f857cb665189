// Makes search bodies of the page's state. Pure: no page, no network.
import { fieldsOf, textOfFields } from "./state.js"

export const MARK_START = "\uE000", MARK_END = "\uE001"
const LEG_ROWS = 30

// The `hybrid` query of one blend. filters: Elasticsearch queries.
export function hybrid(question, config, filters = [], size = 10) {
  const query = { query: question }
  if (config.fields) query.fields = textOfFields(fieldsOf(config.fields)).split(",")
  if (config.alpha !== "") query.alpha = Number(config.alpha)
  if (config.fusion) query.fusion = config.fusion
  if (config.fusion !== "rrf") {
    if (config.normalizer) query.normalizer = config.normalizer
    if (config.combination) query.combination = config.combination
    if (query.normalizer || query.combination) query.fusion = "linear"
  }
  if (config.constant && config.fusion === "rrf") query.rank_constant = Number(config.constant)
  if (config.window) query.rank_window_size = Math.max(size, Number(config.window))
  if (config.blending) query.blending = config.blending
  if (config.generation) query.generation = config.generation
  if (config.minScore) query.min_score = Number(config.minScore)
  if (config.rerank) query.rerank = { rank_window_size: Math.max(size, Number(config.rerank)) }
  if (filters.length) query.filter = filters
  return query
}

// One leg alone: alpha 0 is BM25, alpha 1 is kNN.
function leg(question, config, filters, alpha, size) {
  const { fields, generation, window } = config
  return hybrid(question, { ...blank(config), fields, generation, window, alpha, fusion: "linear" }, filters, size)
}

function blank(config) { return Object.fromEntries(Object.keys(config).map((key) => [key, ""])) }

export function filtersOf(state, { facet = true } = {}) {
  const filters = []
  if (facet && state.facet && state.values.length) filters.push({ terms: { [state.facet]: state.values.map((value) => JSON.parse(value)) } })
  if (state.filter.trim()) filters.push({ query_string: { query: state.filter.trim() } })
  return filters
}

// The search as a person would send it: what "copy" shows.
export function plainBody(state, name) {
  return { size: state.size, query: { hybrid: { ...hybrid(state.question, state[name], filtersOf(state), state.size), inner_hits: {} } } }
}

// All searches of one turn, by name: the legs, the blends, the facet's counts.
export function searches(state, schema) {
  const filters = filtersOf(state)
  const shared = { explain: true, _source: { excludes: schema.vectors } }
  const highlight = highlighting(schema)
  const rows = Math.max(state.size, LEG_ROWS)
  const bodies = {
    words: { ...shared, highlight, size: rows, query: { hybrid: leg(state.question, state.a, filters, 0, rows) } },
    meaning: { ...shared, size: rows, query: { hybrid: leg(state.question, state.a, filters, 1, rows) } },
  }
  for (const name of state.compare ? ["a", "b"] : ["a"]) {
    bodies[name] = { ...shared, ...plainBody(state, name), highlight }
  }
  if (state.facet) {
    // Counted without the facet's own choice, so that choosing one value does not remove the others.
    const query = { hybrid: hybrid(state.question, blank(state.a), filtersOf(state, { facet: false })) }
    bodies.facet = { size: 0, query, aggs: { values: { terms: { field: state.facet, size: 20 } } } }
  }
  return bodies
}

function highlighting(schema) {
  const fields = Object.fromEntries(schema.texts.map((name) => [name, {}]))
  return { pre_tags: [MARK_START], post_tags: [MARK_END], number_of_fragments: 5, fragment_size: 200, fields }
}

// The first hits of a blend for one judged question: ids only. Filters do not apply: judgements are about the whole index.
export function rankingBody(question, config, depth) {
  return { size: depth, _source: false, track_total_hits: false, query: { hybrid: hybrid(question, config, [], depth) } }
}

// What goes into the pool of a question to judge: the first hits of every list.
export function poolBodies(question, state, schema, depth) {
  const shown = { size: depth, track_total_hits: false, _source: { excludes: schema.vectors } }
  const configs = state.compare ? [state.a, state.b] : [state.a]
  return configs.flatMap((config) => [
    { ...shown, query: { hybrid: { ...hybrid(question, { ...config, minScore: "" }, [], depth) } } },
    { ...shown, query: { hybrid: leg(question, config, [], 0, depth) } },
    { ...shown, query: { hybrid: leg(question, config, [], 1, depth) } },
  ])
}

// The best passage of each pooled hit, whichever list it came from, so that a card does not betray its list.
export function passagesBody(question, ids, generation, schema) {
  const query = { query: question, alpha: 1, fusion: "linear", filter: [{ ids: { values: ids } }], inner_hits: {}, rank_window_size: Math.max(100, ids.length) }
  if (generation) query.generation = generation
  return { size: ids.length, track_total_hits: false, _source: { excludes: schema.vectors }, query: { hybrid: query } }
}
