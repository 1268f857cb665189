// Makes elements. Text from an index only ever becomes a text node, so nothing in a document can become markup.

// Whether the device has a mouse, and so most likely a keyboard.
export const hasKeyboard = () => matchMedia("(hover: hover)").matches
export const $ = (id) => document.getElementById(id)

// Attributes: `onclick` and the like are handlers, `--name` sets a custom property, false, null and undefined are left out.
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) set(node, key, value)
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return node
}

function set(node, key, value) {
  if (value === null || value === undefined || value === false) return
  if (key.startsWith("on")) node[key] = value
  else if (key.startsWith("--")) node.style.setProperty(key, value)
  else node.setAttribute(key, value === true ? "" : value)
}

export function option(value, text = value, selected = false) {
  return element("option", { value, selected }, text)
}

export function segment(text, pressed, onclick, more = {}) {
  return element("button", { type: "button", "aria-pressed": String(pressed), onclick, ...more }, text)
}

export function percent(share) { return `${Math.floor(share * 1000) / 10} %` }

// "1 hit", "2 hits"
export function count(number, noun, plural = `${noun}s`) { return `${number} ${number === 1 ? noun : plural}` }

// Runs the last call only, `milliseconds` after it.
export function debounced(run, milliseconds) {
  let waiting
  return (...given) => {
    clearTimeout(waiting)
    waiting = setTimeout(() => run(...given), milliseconds)
  }
}
