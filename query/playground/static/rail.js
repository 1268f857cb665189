// The rail: settings of the blend that is being edited, what is searched, and what is shown of each hit.
import { element, option, segment } from "./dom.js"
import { UNSET, fieldsOf, textOfFields } from "./state.js"

// page: {state, schema, defaults, facetBuckets, searchSoon(), searchNow(), redraw()}; redraw draws the rail anew.
export function drawRail(page) {
  const { state } = page
  const config = state[state.editing]
  const set = (key, value, when = page.searchSoon) => { config[key] = value; when() }
  return [
    whichBlend(page),
    mix(page, config, set),
    folded("how", "How scores are combined", combining(page, config, set), page),
    folded("fields", "Fields and boosts", boosts(page, config), page),
    folded("more", "More", extras(page, config, set), page),
    filters(page),
    folded("shown", "Shown with each hit", shownFields(page), page),
  ]
}

function folded(name, title, content, page) {
  page.unfolded ??= new Set(["fields"])
  return element("details", {
    class: "group", "data-group": name, open: page.unfolded.has(name),
    ontoggle: (event) => { event.target.open ? page.unfolded.add(name) : page.unfolded.delete(name) },
  }, element("summary", {}, title), ...content)
}

function whichBlend(page) {
  const { state } = page
  const edit = (name) => () => { state.editing = name; page.redraw(); page.searchNow() }
  const toggle = () => {
    state.compare = !state.compare
    state.editing = state.compare ? "b" : "a"
    if (state.compare) state.b = { ...state.a }
    page.redraw()
    page.searchNow()
  }
  const config = state[state.editing]
  return element("div", { class: "which" },
    element("h2", {}, "Settings"),
    state.compare && element("div", { class: "segments", role: "group", "aria-label": "Which settings to edit" },
      ...["a", "b"].map((name) => segment(name.toUpperCase(), state.editing === name, edit(name), { class: `letter-${name}`, "data-edit": name }))),
    element("button", { type: "button", id: "compare", class: "link", onclick: toggle }, state.compare ? "Close B" : "Compare with B"),
    Object.keys(UNSET).some((key) => config[key] !== "") && element("button", {
      type: "button", id: "reset", class: "link", onclick: () => { Object.assign(config, UNSET); page.redraw(); page.searchNow() },
    }, "Reset"))
}

function mix(page, config, set) {
  const { alpha, isTuned } = page.defaults
  const shown = element("output", { id: "alpha-shown", for: "alpha" })
  const show = (value) => { shown.value = `${Math.round(value * 100)} % meaning` }
  const value = config.alpha === "" ? alpha : Number(config.alpha)
  show(value)
  const slider = element("input", {
    id: "alpha", type: "range", min: 0, max: 1, step: 0.05, value, "aria-label": "Share of meaning in the blend (alpha)",
    oninput: () => { show(Number(slider.value)); set("alpha", Math.abs(slider.value - alpha) < 1e-9 ? "" : slider.value) },
  })
  const text = `${isTuned ? "tuned" : "default"} ${alpha.toFixed(2)}`
  return element("div", { class: "mix" },
    element("div", { class: "ends" }, element("span", { class: "words-text" }, "words"), shown, element("span", { class: "meaning-text" }, "meaning")),
    slider,
    element("div", { class: "mark-row" }, element("button", {
      type: "button", class: "mark", id: "alpha-default", "--at": alpha, title: "Back to this value",
      onclick: () => { slider.value = alpha; show(alpha); set("alpha", "") },
    }, text)))
}

function chooser(label, id, values, chosen, onchange, names = {}) {
  return element("label", {}, label, element("select", { id, onchange: (event) => onchange(event.target.value) },
    ...values.map((value) => option(value, names[value] ?? value, value === chosen))))
}

function figure(label, id, value, placeholder, onchange, more = {}) {
  return element("label", {}, label, element("input", {
    id, type: "number", value, placeholder, onchange: (event) => onchange(event.target.value), ...more,
  }))
}

function combining(page, config, set) {
  const { fusion, normalizer, combination, window, constant } = page.defaults
  const { blend } = page.schema
  // A blend that names its fusion does not use the normaliser of the index's defaults.
  const usual = config.fusion ? blend.defaults.normalizer : normalizer
  const isRanks = (config.fusion || fusion) === "rrf"
  const redo = (key) => (value) => { set(key, value, page.searchNow); page.redraw() }
  return [
    chooser("Fusion", "fusion", ["", ...blend.fusions], config.fusion, redo("fusion"), { "": `default (${fusion})`, linear: "linear: add scores", rrf: "rrf: add 1 / rank" }),
    ...(isRanks ? [figure("Rank constant", "constant", config.constant, constant, redo("constant"), { min: 1, max: 1000 })] : [
      chooser("Normaliser", "normalizer", ["", ...blend.normalizers], config.normalizer, redo("normalizer"), { "": `default (${usual})` }),
      chooser("Combination", "combination", ["", ...blend.combinations], config.combination, redo("combination"), { "": `default (${combination})` }),
      chooser("Scores of a hit", "blending", ["", "windowed"], config.blending, redo("blending"),
        { "": "exact: true on both legs", windowed: "windowed: within the lists only" }),
    ]),
    figure("Window: hits of each leg that are looked at", "window", config.window, window, redo("window"), { min: 1, max: 10000 }),
  ]
}

function boosts(page, config) {
  const { schema, defaults } = page
  const chosen = new Map(config.fields ? fieldsOf(config.fields) : fieldsOf(defaults.fields.join(",")))
  const usual = textOfFields(fieldsOf(defaults.fields.join(",")))
  const save = () => {
    const text = textOfFields([...chosen])
    config.fields = text === usual ? "" : text
    page.searchSoon()
  }
  return [element("div", { class: "fields" }, ...schema.texts.map((name) => {
    const boost = element("input", {
      type: "number", min: 0.1, max: 100, step: 0.5, value: chosen.get(name) ?? 1, disabled: !chosen.has(name), "aria-label": `Boost of ${name}`,
      onchange: (event) => { chosen.set(name, Number(event.target.value) || 1); save() },
    })
    const use = element("input", { type: "checkbox", checked: chosen.has(name), "data-field": name, onchange: (event) => {
      if (event.target.checked) chosen.set(name, Number(boost.value) || 1)
      else if (chosen.size > 1) chosen.delete(name)
      else event.target.checked = true // BM25 needs a field
      boost.disabled = !chosen.has(name)
      save()
    } })
    return element("div", { class: "field-row" }, element("label", { class: "check" }, use, element("span", {}, name)), element("span", { class: "times", "aria-hidden": "true" }, "×"), boost)
  })), element("p", { class: "note" }, "The words are looked for in these fields. The meaning comes from the fields the index was attached with.")]
}

function extras(page, config, set) {
  const { schema } = page
  const generations = Object.keys(schema.generations)
  const rerank = element("input", { type: "checkbox", id: "rerank", checked: config.rerank !== "", onchange: (event) => {
    set("rerank", event.target.checked ? "50" : "", page.searchNow)
  } })
  return [
    element("label", { class: "check" }, rerank, element("span", {}, "Rerank the best 50 with the cross-encoder")),
    generations.length > 1 && chooser("Generation", "generation", ["", ...generations.filter((name) => name !== schema.active)], config.generation,
      (value) => set("generation", value, page.searchNow), { "": `active (${schema.active})` }),
    figure("Lowest score (min_score)", "min-score", config.minScore, "none", (value) => set("minScore", value, page.searchNow), { step: 0.01 }),
    figure("Hits", "size", page.state.size, 10, (value) => {
      page.state.size = Math.min(50, Math.max(1, Number(value) || 10))
      page.searchNow()
    }, { min: 1, max: 50 }),
  ]
}

function filters(page) {
  const { state, schema } = page
  return element("div", { class: "group filters" },
    element("h3", {}, "Filters"),
    element("label", {}, "Filter", element("input", {
      id: "filter", autocomplete: "off", value: state.filter, placeholder: "field:value AND NOT …",
      oninput: (event) => { state.filter = event.target.value; page.searchSoon() },
    })),
    chooser("Facet", "facet", ["", ...schema.facets], state.facet, (value) => {
      Object.assign(state, { facet: value, values: [] })
      page.facetBuckets = []
      page.redraw()
      page.searchNow()
    }, { "": "none" }),
    element("div", { id: "facets", role: "group", "aria-label": "Facet values" }, ...facetValues(page)))
}

// The buttons of a facet; a chosen value stays even where it no longer occurs.
export function facetValues(page) {
  const { state } = page
  const buckets = page.facetBuckets ?? []
  const present = new Set(buckets.map((bucket) => JSON.stringify(bucket.key)))
  const absent = state.values.filter((value) => !present.has(value)).map((value) => ({ key: JSON.parse(value), doc_count: 0 }))
  return [...buckets, ...absent].map((bucket) => {
    const value = JSON.stringify(bucket.key)
    const isChosen = state.values.includes(value)
    return element("button", {
      type: "button", "aria-pressed": String(isChosen), class: "chip", "data-key": value, onclick: () => {
        state.values = isChosen ? state.values.filter((other) => other !== value) : [...state.values, value]
        page.redraw()
        page.searchNow()
      },
    }, `${bucket.key_as_string ?? bucket.key} `, element("span", { class: "chip-count" }, bucket.doc_count))
  })
}

function shownFields(page) {
  const { state, schema } = page
  const shown = new Set(state.shown ?? schema.shown)
  return [element("div", { class: "fields" }, ...schema.facets.map((name) => element("label", { class: "check" },
    element("input", { type: "checkbox", checked: shown.has(name), onchange: (event) => {
      event.target.checked ? shown.add(name) : shown.delete(name)
      state.shown = [...shown]
      page.searchNow()
    } }), element("span", {}, name))))]
}
