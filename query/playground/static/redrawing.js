// Draws parts of the page again without disturbing the person who uses them.
import { $ } from "./dom.js"

const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "ontoggle"]
const drawn = new WeakMap() // element -> its markup when it was drawn, before people typed or opened anything in it

// Draws `wanted` (elements) as the children of `container`. An element that looks as it did before stays, with what people type, open,
// press and scroll in it. Elements are the same by their name and their id, `data-id` or `data-key`.
export function update(container, wanted) {
  const before = [...container.childNodes]
  const children = wanted.map((fresh) => {
    const position = before.findIndex((old) => isSame(old, fresh))
    if (position < 0) return remembered(fresh)
    const [old] = before.splice(position, 1)
    become(old, fresh)
    return old
  })
  for (const gone of before) gone.remove()
  children.forEach((child, position) => {
    if (container.childNodes[position] !== child) container.insertBefore(child, container.childNodes[position] ?? null)
  })
}

const keyOf = (node) => node.id || node.dataset?.id || node.dataset?.key
const isSame = (first, second) => first.nodeName === second.nodeName && keyOf(first) === keyOf(second)

function remembered(fresh) {
  for (const node of fresh.querySelectorAll?.("*") ?? []) drawn.set(node, node.outerHTML)
  if (fresh.outerHTML) drawn.set(fresh, fresh.outerHTML)
  return fresh
}

function become(old, fresh) {
  if (!(old instanceof Element)) {
    if (old.data !== fresh.data) old.data = fresh.data
    return
  }
  const markup = fresh.outerHTML
  if (drawn.get(old) === markup) return
  drawn.set(old, markup)
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name)
  for (const { name, value } of fresh.attributes) {
    if (name === "style") old.style.cssText = value // the policy of the page forbids the attribute
    else if (old.getAttribute(name) !== value) old.setAttribute(name, value)
  }
  for (const handler of HANDLERS) old[handler] = fresh[handler]
  update(old, [...fresh.childNodes])
}

let pressed = null
const postponed = new Map() // container -> how it is drawn

// Draws `container` at once or, while something in it is pressed, after the release: replacing it would lose the click or end the drag.
export function whenReleased(container, draw) {
  postponed.delete(container)
  if (pressed && container.contains(pressed)) postponed.set(container, draw)
  else draw()
}

function release() {
  pressed = null
  setTimeout(() => { // after the click
    for (const [container, draw] of [...postponed]) whenReleased(container, draw)
  })
}

addEventListener("pointerdown", (event) => { if (event.isPrimary && event.button === 0) pressed = event.target }, true)
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, release, true)
addEventListener("blur", release) // of the window

// Draws anew and gives the focus back to the same control, by its id or its place.
export function keepFocus(container, draw) {
  const active = container.contains(document.activeElement) ? document.activeElement : null
  const selector = "a, button, input, select, summary, [tabindex]"
  const position = active ? [...container.querySelectorAll(selector)].indexOf(active) : -1
  draw()
  if (!active || active.isConnected) return
  const target = (active.id && $(active.id)) || container.querySelectorAll(selector)[position]
  target?.focus({ preventScroll: true })
}
