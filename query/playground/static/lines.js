// Joins the same document across the visible lists while it is hovered or focused.

const SVG = "http://www.w3.org/2000/svg"

export function joinOnHover(container) {
  const overlay = document.createElementNS(SVG, "svg")
  overlay.setAttribute("class", "lines")
  overlay.setAttribute("aria-hidden", "true")
  const show = (event) => {
    const item = event.target.closest?.("[data-key]")
    if (item) draw(container, overlay, item.dataset.key)
    else clear(container, overlay)
  }
  container.addEventListener("pointerover", show)
  container.addEventListener("focusin", show)
  container.addEventListener("pointerleave", () => clear(container, overlay))
  container.addEventListener("focusout", (event) => { if (!container.contains(event.relatedTarget)) clear(container, overlay) })
}

function clear(container, overlay) {
  overlay.replaceChildren()
  overlay.remove()
  for (const item of container.querySelectorAll(".linked")) item.classList.remove("linked")
}

function draw(container, overlay, key) {
  clear(container, overlay)
  const items = [...container.querySelectorAll("[data-key]")].filter((item) => item.dataset.key === key && item.offsetParent !== null)
  for (const item of items) item.classList.add("linked")
  if (items.length < 2) return
  const frame = container.getBoundingClientRect()
  overlay.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`)
  overlay.append(...items.slice(1).map((item, position) => curve(anchor(items[position], frame), anchor(item, frame), kindOf(item))))
  container.append(overlay)
}

function anchor(item, frame) {
  const box = item.getBoundingClientRect()
  const y = item.classList.contains("row") ? box.top + box.height / 2 : box.top + 22
  return { left: box.left - frame.left, right: box.right - frame.left, y: y - frame.top }
}

const kindOf = (item) => item.closest("[data-list]").dataset.list

function curve(from, to, kind) {
  const middle = (from.right + to.left) / 2
  const path = document.createElementNS(SVG, "path")
  path.setAttribute("d", `M ${from.right} ${from.y} C ${middle} ${from.y}, ${middle} ${to.y}, ${to.left} ${to.y}`)
  path.setAttribute("class", kind)
  return path
}
