// What the page shows, as one value that the address holds: a reload or a shared link gives the same page.

// Settings of one blend. An empty value leaves the decision to the index's own defaults.
export const UNSET = {
  alpha: "", fusion: "", normalizer: "", combination: "", constant: "", window: "", blending: "", fields: "", rerank: "",
  generation: "", minScore: "",
}
const PLAIN = { index: "", question: "q", filter: "", facet: "", view: "", tab: "", editing: "" }
const DEFAULTS = {
  index: "", question: "", filter: "", facet: "", view: "search", tab: "a", editing: "a", size: 10, compare: false, values: [], shown: null,
}

export function initial() { return { ...structuredClone(DEFAULTS), a: { ...UNSET }, b: { ...UNSET } } }

export function readAddress(search) {
  const given = new URLSearchParams(search)
  const state = initial()
  for (const [key, name] of Object.entries(PLAIN)) state[key] = given.get(name || key) ?? state[key]
  state.size = Math.min(50, Math.max(1, Number(given.get("size")) || 10))
  state.compare = given.get("compare") === "1"
  state.values = given.getAll("value").filter(isJson)
  if (given.has("show")) state.shown = given.get("show").split(",").filter(Boolean)
  if (!["search", "judge"].includes(state.view)) state.view = "search"
  if (!["a", "b"].includes(state.editing) || !state.compare) state.editing = "a"
  for (const name of ["a", "b"]) {
    for (const key of Object.keys(UNSET)) state[name][key] = given.get(`${name}.${key}`) ?? ""
  }
  return state
}

export function addressOf(state) {
  const parameters = new URLSearchParams()
  for (const [key, name] of Object.entries(PLAIN)) {
    if (state[key] && state[key] !== DEFAULTS[key]) parameters.set(name || key, state[key])
  }
  if (state.size !== DEFAULTS.size) parameters.set("size", state.size)
  if (state.compare) parameters.set("compare", "1")
  for (const value of state.values) parameters.append("value", value)
  if (state.shown) parameters.set("show", state.shown.join(","))
  for (const name of state.compare ? ["a", "b"] : ["a"]) {
    for (const [key, value] of Object.entries(state[name])) if (value !== "") parameters.set(`${name}.${key}`, value)
  }
  return `?${parameters}`
}

function isJson(text) {
  try { return JSON.parse(text) !== undefined } catch { return false }
}

// "title^2,body" as [["title", 2], ["body", 1]]
export function fieldsOf(text) {
  return text.split(",").filter(Boolean).map((field) => {
    const [name, boost] = field.split("^")
    return [name, Number(boost ?? 1)]
  })
}

export function textOfFields(fields) {
  return fields.map(([name, boost]) => (boost === 1 ? name : `${name}^${boost}`)).join(",")
}

// What one setting is when it is left to the index: its own defaults, else the gateway's.
export function defaultsOf({ attachment, blend }) {
  const set = attachment?.defaults ?? {}
  const weights = set.weights && set.weights.lexical !== undefined && set.weights.semantic !== undefined ? set.weights : null
  return {
    alpha: set.alpha ?? (weights ? weights.semantic / (weights.lexical + weights.semantic || 1) : blend.defaults.alpha),
    isTuned: set.alpha !== undefined || weights !== null,
    fusion: set.fusion ?? blend.defaults.fusion,
    normalizer: set.normalizer ?? blend.defaults.normalizer,
    combination: blend.defaults.combination,
    window: set.rank_window_size ?? blend.defaults.rank_window_size,
    constant: set.rank_constant ?? blend.defaults.rank_constant,
    fields: set.fields ?? attachment?.source_fields ?? [],
  }
}

// Settings in a few words: "70 % meaning, linear".
export function summary(config, defaults) {
  const alpha = config.alpha === "" ? defaults.alpha : Number(config.alpha)
  const parts = [`${Math.round(alpha * 100)} % meaning`, config.fusion || defaults.fusion]
  if (config.normalizer) parts.push(config.normalizer)
  if (config.fields) parts.push(config.fields.replaceAll(",", " + "))
  if (config.rerank) parts.push("reranked")
  if (config.generation) parts.push(config.generation)
  if (config.minScore) parts.push(`score ≥ ${config.minScore}`)
  return parts.join(", ")
}
