// Shows the present search as something to paste elsewhere. Credentials appear as names of environment variables only.
import { $, segment } from "./dom.js"

const FORMS = { curl: "curl", python: "Python", javascript: "JavaScript", console: "Request" }

// scheme: how the tab signs in: "none", "Basic" or "ApiKey".
export function copyOf(form, { origin, index, body, scheme }) {
  const text = JSON.stringify(body, null, 2)
  if (form === "console") return `GET /${encodeURIComponent(index)}/_search\n${text}`
  if (form === "curl") return curl(`${origin}/${encodeURIComponent(index)}/_search`, text, scheme)
  return form === "python" ? python(origin, index, text, scheme) : javascript(origin, index, text, scheme)
}

function curl(url, text, scheme) {
  const credentials = { none: "", Basic: ' \\\n  --user "$ES_USERNAME:$ES_PASSWORD"', ApiKey: ' \\\n  --header "Authorization: ApiKey $ES_API_KEY"' }[scheme]
  return `curl '${url}'${credentials} \\\n  --header 'Content-Type: application/json' \\\n  --data '${text.replaceAll("'", "'\\''")}'`
}

function python(origin, index, text, scheme) {
  const credentials = {
    none: "", Basic: ', basic_auth=(os.environ["ES_USERNAME"], os.environ["ES_PASSWORD"])', ApiKey: ', api_key=os.environ["ES_API_KEY"]',
  }[scheme]
  return [
    "import json", ...(scheme === "none" ? [] : ["import os"]), "", "from elasticsearch import Elasticsearch", "",
    `es = Elasticsearch(${JSON.stringify(origin)}${credentials})`,
    // A JSON string in a raw Python string; three quotes in a row, the only thing that could end it, become an escape of JSON.
    `body = json.loads(r'''${text.replaceAll("'''", "''\\u0027")}''')`,
    `answer = es.search(index=${JSON.stringify(index)}, body=body)`,
    'for hit in answer["hits"]["hits"]:', '    print(f"{hit[\'_score\']:.3f} {hit[\'_id\']}")',
  ].join("\n")
}

function javascript(origin, index, text, scheme) {
  const auth = {
    none: "", Basic: ",\n  auth: { username: process.env.ES_USERNAME, password: process.env.ES_PASSWORD }",
    ApiKey: ",\n  auth: { apiKey: process.env.ES_API_KEY }",
  }[scheme]
  return [
    "const { Client } = require('@elastic/elasticsearch')", "",
    `const client = new Client({\n  node: ${JSON.stringify(origin)}${auth}\n})`,
    `const body = ${text}`,
    `client.search({ index: ${JSON.stringify(index)}, ...body }).then((answer) => {`,
    "  for (const hit of answer.hits.hits) console.log(hit._score.toFixed(3), hit._id)", "})",
  ].join("\n")
}

// makeContext: gives {origin, index, body, scheme} of the present search.
export function setUpCopying(makeContext) {
  let form = "curl"
  const show = () => {
    $("copied").textContent = copyOf(form, makeContext())
    $("copy-forms").replaceChildren(...Object.entries(FORMS).map(([name, label]) =>
      segment(label, name === form, () => { form = name; show() }, { "data-copy": name })))
    $("copy-note").textContent = makeContext().scheme === "none"
      ? "This Elasticsearch asks for no credentials." : "Credentials are read from environment variables; the text holds none of yours."
    $("copy-now").textContent = "Copy"
  }
  $("copy-open").addEventListener("click", () => { show(); $("copy").showModal() })
  $("copy-close").addEventListener("click", () => $("copy").close())
  $("copy-now").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("copied").textContent)
      $("copy-now").textContent = "Copied"
    } catch {
      getSelection().selectAllChildren($("copied"))
      $("copy-now").textContent = "Selected: press Ctrl+C"
    }
  })
}
