// What the page knows of an index: its fields, its attachment, its generations.
import { ask } from "./gateway.js"

export async function listIndices() {
  const path = "/*/_mapping?filter_path=*.mappings._meta.esblend.active&expand_wildcards=open"
  try {
    return Object.keys(await ask("GET", path)).sort()
  } catch (error) {
    if (error.status === 403) return [] // a caller who may search but not read mappings names the index in the address
    throw error
  }
}

// {texts, facets, shown, vectors, generations, active, attachment, blend}; blend: what a hybrid query may say, and its defaults. A caller who may search but not read the mapping gets no attachment.
export async function readSchema(index) {
  const name = encodeURIComponent(index)
  const [fields, attachment, blend] = await Promise.all([
    ask("GET", `/${name}/_field_caps?fields=*&types=text,match_only_text,keyword,long,integer,short,byte,double,float,boolean,date`),
    ask("GET", `/_esblend/indices/${name}`).then((response) => response.attachment, (error) => {
      if (error.status === 401) throw error
      return null
    }),
    ask("GET", "/_esblend/blend"),
  ])
  const root = attachment?.field ?? "esblend"
  const own = Object.entries(fields.fields).filter(([field]) => !field.startsWith("_") && field !== root && !field.startsWith(`${root}.`))
  const isOf = (types, test) => Object.entries(types).every(([type, caps]) => test(type, caps))
  const texts = own.filter(([, types]) => isOf(types, (type) => type.includes("text"))).map(([field]) => field)
  const facets = own.filter(([, types]) => isOf(types, (_, caps) => caps.aggregatable)).map(([field]) => field).sort()
  const sources = attachment?.source_fields ?? []
  return {
    texts: [...sources, ...texts.filter((field) => !sources.includes(field)).sort()],
    facets,
    // Keyword fields that are no copy of a text field.
    shown: facets.filter((field) => fields.fields[field].keyword && !texts.includes(field.split(".")[0])).slice(0, 2),
    vectors: [root, ...Object.values(attachment?.generations ?? {}).map((generation) => generation.adopted?.field).filter(Boolean)],
    generations: attachment?.generations ?? {},
    active: attachment?.active ?? "",
    attachment,
    blend,
  }
}
