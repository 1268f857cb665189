// Talks to the gateway that served this page. Credentials are kept in this tab's session storage only.

const KEY = "authorization"

export class Refused extends Error {
  // status: HTTP, 0 when nothing answered. hadCredentials: whether the request carried some.
  constructor(status, reason, hadCredentials) {
    super(reason)
    this.status = status
    this.hadCredentials = hadCredentials
  }
}

export async function ask(method, path, body, type = "application/json") {
  const credentials = sessionStorage.getItem(KEY)
  const headers = { "content-type": type, accept: "application/json" }
  if (credentials) headers.authorization = credentials
  let answer
  try {
    answer = await fetch(path, { method, headers, body, credentials: "omit" })
  } catch { throw new Refused(0, "The gateway does not answer.", Boolean(credentials)) }
  const content = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Refused(answer.status, reasonOf(content) ?? answer.statusText, Boolean(credentials))
  return content
}

export const send = (method, path, content) => ask(method, path, content === undefined ? undefined : JSON.stringify(content))

// Searches of one index in one request. Raises the first error among the answers.
export async function searchAll(index, bodies) {
  const lines = bodies.flatMap((body) => [{}, body]).map((line) => JSON.stringify(line)).join("\n")
  const { responses, took } = await ask("POST", `/${encodeURIComponent(index)}/_msearch`, `${lines}\n`, "application/x-ndjson")
  const broken = responses.find((response) => response.error)
  if (broken) throw new Refused(broken.status, reasonOf(broken), Boolean(sessionStorage.getItem(KEY)))
  return { responses, took }
}

// The root cause says more than "all shards failed".
function reasonOf(content) {
  const error = content.error
  return typeof error === "string" ? error : error?.root_cause?.[0]?.reason ?? error?.reason
}

export function signIn(user, secret) {
  const bytes = new TextEncoder().encode(`${user}:${secret}`)
  sessionStorage.setItem(KEY, user ? `Basic ${btoa(String.fromCharCode(...bytes))}` : `ApiKey ${secret}`)
}

export const signOut = () => sessionStorage.removeItem(KEY)

// How this tab signs in: "none", "Basic" or "ApiKey".
export const scheme = () => sessionStorage.getItem(KEY)?.split(" ")[0] ?? "none"

// An error as a sentence and what to do about it.
export function inWords(error) {
  const reason = error.message
  if (error.status === 0) return ["The gateway does not answer.", "Check that it runs (esblend ps), then try again."]
  if (error.status === 401) {
    if (!error.hadCredentials) return ["Sign in to search.", "This Elasticsearch asks for credentials; use your own."]
    return scheme() === "ApiKey"
      ? ["This API key is not valid.", "Paste the key in its encoded form, as Elasticsearch gave it under “encoded”."]
      : ["Wrong user name or password.", "Elasticsearch refused them. Check both and try again."]
  }
  if (error.status === 403) return ["You lack the rights for this.", reason]
  if (error.status === 404) return ["This index does not exist or is not attached.", reason]
  if (/parse query|query_string/i.test(reason)) return ["The filter cannot be read.", `${reason}. Use Lucene syntax, as in kind:function AND NOT module:os.`]
  if (error.status === 429 || error.status === 503) return ["Elasticsearch is busy or not reachable.", `${reason} Try again in a moment.`]
  return ["The search failed.", reason]
}
