// Asks a gateway what JavaScript applications ask Elasticsearch, and prints the answers as one JSON object.
// node search.mjs URL INDEX TEXT
import { Client, errors } from "@elastic/elasticsearch";

const [url, index, text] = process.argv.slice(2);
const client = new Client({ node: url });
const ids = (answer) => answer.hits.hits.map((hit) => hit._id);

const hybrid = { hybrid: { query: text } };
const lexical = { standard: { query: { match: { body: text } } } };
const semantic = {
  knn: {
    field: "esblend",
    query_vector_builder: { text_embedding: { model_text: text } },
    k: 6,
    num_candidates: 50,
  },
};
const retriever = { rrf: { retrievers: [lexical, semantic] } };

async function walk() {
  const { id } = await client.openPointInTime({ index, keep_alive: "1m" });
  const seen = [];
  let after;
  do {
    const answer = await client.search({
      pit: { id },
      query: hybrid,
      size: 2,
      sort: [{ _score: "desc" }],
      ...(after && { search_after: after }),
    });
    after = answer.hits.hits.at(-1)?.sort;
    seen.push(...ids(answer));
  } while (after);
  await client.closePointInTime({ id });
  return seen;
}

async function refused() {
  try {
    await client.search({ index, query: { hybrid: { query: text, alpha: 7 } } });
  } catch (error) {
    return error instanceof errors.ResponseError && { status: error.statusCode, type: error.body.error.type };
  }
}

const found = await client.search({ index, query: hybrid, aggs: { kinds: { terms: { field: "kind" } } } });
const many = await client.msearch({ searches: [{ index }, { query: hybrid }, { index }, { retriever }] });
const documents = await client.helpers.search({ index, query: hybrid, size: 3 });
console.log(
  JSON.stringify({
    hybrid: ids(found),
    total: found.hits.total.value,
    buckets: found.aggregations.kinds.buckets.length,
    retriever: ids(await client.search({ index, retriever })),
    msearch: many.responses.map(ids),
    documents: documents.length,
    walk: await walk(),
    refused: await refused(),
    count: (await client.count({ index })).count,
  }),
);
