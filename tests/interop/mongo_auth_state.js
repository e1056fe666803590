'use strict';

/*
 * The MongoDB example of Baileys' guide, for a test: one document for each record, `{_id, data}`.
 *
 *   node mongo_auth_state.js <url> <collection>
 *
 * Standard input carries one call a line, {"verb", …}; standard output what it returned, {"value"}. Bytes go in and out as
 * BufferJSON has them. The end of the input ends it.
 */

const readline = require('readline');
const { MongoClient } = require('mongodb');

// Baileys' own form of bytes; Buffer.toJSON has run before a replacer is called.
const replacer = (_, value) =>
  value?.type === 'Buffer' ? { type: 'Buffer', data: Buffer.from(value.data).toString('base64') } : value;
const reviver = (_, value) =>
  value?.type === 'Buffer' && typeof value.data === 'string' ? Buffer.from(value.data, 'base64') : value;

const guide = (collection) => {
  const writeData = (id, data) =>
    collection.updateOne({ _id: id }, { $set: { data: JSON.stringify(data, replacer) } }, { upsert: true });
  const readData = async (id) => {
    const doc = await collection.findOne({ _id: id });
    return doc?.data ? JSON.parse(doc.data, reviver) : null;
  };
  return {
    creds: () => readData('creds'),
    saveCreds: ({ creds }) => writeData('creds', creds).then(() => null),
    get: async ({ type, ids }) => {
      const data = {};
      for (const id of ids) {
        const value = await readData(`${type}-${id}`);
        if (value) data[id] = value;
      }
      return data;
    },
    set: async ({ data }) => {
      for (const [type, entries] of Object.entries(data)) {
        for (const [id, value] of Object.entries(entries)) {
          if (value) await writeData(`${type}-${id}`, value);
          else await collection.deleteOne({ _id: `${type}-${id}` });
        }
      }
      return null;
    },
  };
};

(async () => {
  const client = await MongoClient.connect(process.argv[2]);
  const verbs = guide(client.db().collection(process.argv[3]));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { verb, ...rest } = JSON.parse(line, reviver);
    process.stdout.write(JSON.stringify({ value: await verbs[verb](rest) }, replacer) + '\n');
  }
  await client.close();
})();
