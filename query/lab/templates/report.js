// The list of queries and its scatter plot. Texts come from an index, so they are set as text, never as markup.
"use strict"
const data = JSON.parse(document.getElementById("data").textContent)
const FIRST = 100
const base = data.systems.indexOf(data.baseline)
const state = { system: data.systems.indexOf(data.compared), sort: "gain", direction: -1, words: "", which: "all", chosen: null, all: false }
const find = (id) => document.getElementById(id)

function element(name, properties = {}, ...children) {
  const node = document.createElement(name)
  for (const [key, value] of Object.entries(properties)) key in node ? (node[key] = value) : node.setAttribute(key, value)
  node.append(...children)
  return node
}

function drawing(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  node.append(...children)
  return node
}

const judged = (query, system) => query.hits[system].filter((position) => String(position) in query.grades).length
const gain = (query) => query.values[state.system] - query.values[base]
const COLUMNS = [
  { key: "text", title: () => "Query", value: (query) => query.text.toLowerCase() },
  { key: "base", title: () => data.baseline, value: (query) => query.values[base], show: (value) => value.toFixed(3) },
  { key: "system", title: () => data.systems[state.system], value: (query) => query.values[state.system], show: (value) => value.toFixed(3) },
  { key: "gain", title: () => "Gain", value: gain, show: (value) => (value > 0 ? "+" : "") + value.toFixed(3) },
  { key: "judged", title: () => "judged@10", value: (query) => judged(query, state.system) / Math.max(1, query.hits[state.system].length),
    show: (_, query) => `${judged(query, state.system)}/${query.hits[state.system].length}` },
]
const KEPT = {
  all: () => true, better: (query) => gain(query) > 0, worse: (query) => gain(query) < 0, equal: (query) => gain(query) === 0,
  unjudged: (query) => judged(query, state.system) < query.hits[state.system].length,
}

function wanted() {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean)
  return data.queries.filter((query) => KEPT[state.which](query) && words.every((word) => query.text.toLowerCase().includes(word)))
}

function sorted(queries) {
  const { value } = COLUMNS.find((column) => column.key === state.sort)
  const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0)
  return [...queries].sort((a, b) => state.direction * compare(a, b) || a.text.localeCompare(b.text))
}

function heading(column) {
  const button = element("button", { type: "button", textContent: column.title() })
  button.onclick = () => {
    state.direction = state.sort === column.key ? -state.direction : column.key === "text" ? 1 : -1
    state.sort = column.key
    draw()
    document.querySelector("#table thead [aria-sort] button").focus()
  }
  const cell = element("th", { scope: "col" }, button)
  if (state.sort === column.key) cell.setAttribute("aria-sort", state.direction > 0 ? "ascending" : "descending")
  return cell
}

function badge(query, position) {
  const grade = query.grades[position]
  if (grade === undefined) return element("span", { className: "grade unjudged", textContent: "unjudged" })
  return element("span", { className: grade > 0 ? "grade relevant" : "grade", textContent: grade > 0 ? `relevant, ${grade}` : "not relevant" })
}

function answer(query, system) {
  const hits = query.hits[system].map((position) => {
    const [id, title, text] = data.documents[position]
    return element("li", {}, element("span", {}, badge(query, position), " ", title || id, " ", element("small", { textContent: title ? id : "" })),
      element("span", { className: "text", textContent: text }))
  })
  const head = `${data.systems[system]}: ${query.values[system].toFixed(3)}, ${judged(query, system)} of ${hits.length} judged`
  return element("div", {}, element("h3", { textContent: head }), hits.length ? element("ol", {}, ...hits) : element("p", { textContent: "No hit." }))
}

function rows(query) {
  const open = query === state.chosen
  const button = element("button", { type: "button", textContent: query.text, "aria-expanded": String(open) })
  button.onclick = () => choose(open ? null : query, "#table tr.chosen button")
  const cells = COLUMNS.slice(1).map((column) => {
    const value = column.value(query)
    const kind = column.key === "gain" ? `gain ${value > 0 ? "up" : value < 0 ? "down" : ""}` : ""
    return element("td", { className: kind, textContent: column.show(value, query) })
  })
  const row = element("tr", { className: open ? "query chosen" : "query" }, element("td", {}, button), ...cells)
  row.onmouseenter = () => mark(query, true)
  row.onmouseleave = () => mark(query, false)
  if (!open) return [row]
  const first = [state.system, base]
  const order = [...new Set([...first, ...data.systems.keys()])]
  const known = `${query.relevant} relevant ${query.relevant === 1 ? "document is" : "documents are"} known.`
  const detail = element("td", { colSpan: COLUMNS.length }, element("p", { className: "note", textContent: known }),
    element("div", { className: "answers" }, ...order.map((system) => answer(query, system))))
  return [row, element("tr", { className: "detail" }, detail)]
}

function mark(query, on) {
  const circle = find("scatter").querySelector(`[data-query="${data.queries.indexOf(query)}"]`)
  circle?.classList.toggle("chosen", on || query === state.chosen)
}

function choose(query, focus) {
  state.chosen = query
  if (query && !wanted().includes(query)) Object.assign(state, { words: "", which: "all" })
  if (query && sorted(wanted()).indexOf(query) >= FIRST) state.all = true
  find("search").value = state.words
  find("which").value = state.which
  draw()
  const target = focus && document.querySelector(focus)
  target?.focus()
  target?.scrollIntoView({ block: "nearest" })
}

function scatter(shown) {
  const matching = new Set(shown)
  const x = (value) => 36 + value * 272, y = (value) => 280 - value * 268
  const labels = [0, 0.5, 1].flatMap((value) => [
    drawing("text", { x: x(value), y: 296, "text-anchor": "middle" }, String(value)),
    drawing("text", { x: 27, y: y(value) + 4, "text-anchor": "end" }, String(value)),
  ])
  const names = [
    drawing("text", { x: 172, y: 313, "text-anchor": "middle" }, data.baseline),
    drawing("text", { x: -146, y: 10, "text-anchor": "middle", transform: "rotate(-90)" }, data.systems[state.system]),
  ]
  const points = data.queries.map((query, number) => {
    const kind = `${matching.has(query) ? "" : "away"} ${query === state.chosen ? "chosen" : ""}`.trim()
    const title = drawing("title", {}, `${query.text}: ${query.values[base].toFixed(3)}, ${query.values[state.system].toFixed(3)}`)
    const circle = drawing("circle", { cx: x(query.values[base]), cy: y(query.values[state.system]), r: 4.5, class: kind, "data-query": number }, title)
    circle.onclick = () => choose(query, "#table tr.chosen button")
    return circle
  })
  find("scatter").replaceChildren(drawing("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }), ...labels, ...names, ...points)
}

function draw() {
  const shown = sorted(wanted())
  const listed = state.all ? shown : shown.slice(0, FIRST)
  document.querySelector("#table thead tr").replaceChildren(...COLUMNS.map(heading))
  document.querySelector("#table tbody").replaceChildren(...listed.flatMap(rows))
  const all = data.queries.length
  find("count").textContent = shown.length === all ? `${all} queries` : `${shown.length} of ${all} queries`
  find("more").hidden = listed.length === shown.length
  find("more").textContent = `Show all ${shown.length}`
  scatter(shown)
}

data.systems.forEach((name, place) => {
  if (place !== base) find("system").append(element("option", { value: String(place), textContent: name }))
})
find("system").value = String(state.system)
find("system").onchange = (event) => { state.system = Number(event.target.value); draw() }
find("which").onchange = (event) => { state.which = event.target.value; draw() }
find("search").oninput = (event) => { state.words = event.target.value; draw() }
find("more").onclick = () => { state.all = true; draw() }
draw()
