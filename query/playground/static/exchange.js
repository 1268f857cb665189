// Judgements as files: what `esblend eval` and `esblend tune` read, and what people have elsewhere. Pure.

const QUERY = ["query", "query_text", "question", "q"]
const DOCUMENT = ["document", "doc_id", "document_id", "corpus-id", "_id", "id"]
const GRADE = ["grade", "relevance", "score", "rating", "judgement", "judgment"]

// A question on one line, whatever it was pasted from.
export const oneLine = (text) => text.replace(/[\s\x1c-\x1e\x85]+/g, " ").trim()

// judgements: Map of question to Map of id to grade.
export function toCsv(judgements) {
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`
  const rows = [...judgements].flatMap(([question, grades]) => [...grades].map(([id, grade]) => `${quote(question)},${quote(id)},${grade}`))
  return ["query,document,grade", ...rows, ""].join("\n")
}

// {queries, qrels, unfit}: the files of a TREC export, and ids with spaces, which TREC's format cannot hold.
export function toTrec(judgements) {
  const judged = [...judgements].filter(([, grades]) => grades.size)
  const unfit = judged.flatMap(([, grades]) => [...grades.keys()]).filter((id) => /\s/.test(id) || !id)
  const queries = judged.map(([text], number) => JSON.stringify({ _id: `q${number + 1}`, text }))
  const qrels = judged.flatMap(([, grades], number) => [...grades].map(([id, grade]) => `q${number + 1} 0 ${id} ${grade}`))
  return { queries: [...queries, ""].join("\n"), qrels: [...qrels, ""].join("\n"), unfit }
}

// files: [{name, text}]. Gives {questions: [text], rows: [{question, id, grade}]}. Throws an Error with what to do.
export function readFiles(files) {
  const texts = new Map()
  const qrels = []
  const rows = []
  for (const { name, text } of files) {
    const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim())
    if (!lines.length) throw new Error(`${name} is empty.`)
    if (name.endsWith(".jsonl")) readJsonl(name, lines).forEach(([id, question]) => texts.set(id, question))
    else if (isQrels(lines)) qrels.push(...readQrels(lines))
    else if (isSpreadsheet(lines[0])) rows.push(...readSpreadsheet(name, text.replace(/^\uFEFF/, "")))
    else if (lines.every((line) => line.includes("\t"))) lines.forEach((line) => texts.set(line.split("\t")[0].trim(), oneLine(line.slice(line.indexOf("\t")))))
    else lines.forEach((line) => texts.set(oneLine(line), oneLine(line)))
  }
  for (const { query, id, grade } of qrels) {
    if (texts.has(query)) rows.push({ question: texts.get(query), id, grade })
  }
  if (qrels.length && !rows.length) {
    throw new Error("The qrels name questions by id. Choose the file of questions together with them (JSONL with _id and text, or tab-separated).")
  }
  return { questions: [...new Set([...texts.values(), ...rows.map((row) => row.question)])].filter(Boolean), rows }
}

function readJsonl(name, lines) {
  return lines.map((line, number) => {
    try {
      const { _id, text } = JSON.parse(line)
      return [String(_id), oneLine(String(text))]
    } catch { throw new Error(`${name}, line ${number + 1}: this line is not JSON with _id and text.`) }
  })
}

function isQrels(lines) {
  const last = lines[lines.length - 1].split(/\s+/).filter(Boolean)
  return !lines[0].includes(",") && (last.length === 3 || last.length === 4) && /^-?\d+$/.test(last[last.length - 1])
}

function readQrels(lines) {
  return lines.map((line) => line.split(/\s+/).filter(Boolean)).filter((parts) => /^-?\d+$/.test(parts[parts.length - 1]))
    .map((parts) => ({ query: parts[0], id: parts[parts.length - 2], grade: Number(parts[parts.length - 1]) }))
}

const isSpreadsheet = (header) => columnsOf(cellsOf(header)[0]).every((column) => column >= 0)

function columnsOf(header) {
  const names = header.map((name) => name.toLowerCase().trim())
  return [QUERY, DOCUMENT, GRADE].map((known) => names.findIndex((name) => known.includes(name)))
}

function readSpreadsheet(name, text) {
  const [header, ...rows] = cellsOf(text)
  const [query, document, grade] = columnsOf(header)
  return rows.filter((row) => row.length > 1).map((row, number) => {
    const value = Number(row[grade])
    if (!Number.isFinite(value)) throw new Error(`${name}, row ${number + 2}: the grade is not a number: ${row[grade]}`)
    return { question: oneLine(row[query]), id: row[document].trim(), grade: Math.trunc(value) }
  })
}

// The cells of a CSV text (RFC 4180), by row.
function cellsOf(text) {
  const rows = [[]]
  const pattern = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy
  for (let match; pattern.lastIndex < text.length && (match = pattern.exec(text));) {
    rows[rows.length - 1].push(match[1] === undefined ? match[2] : match[1].replaceAll('""', '"'))
    if (match[3] !== ",") rows.push([])
  }
  return rows.filter((row) => row.length)
}
