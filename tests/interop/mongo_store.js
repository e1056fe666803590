'use strict';

/*
 * The unmodified wwebjs-mongo store, for a test.
 *
 *   node mongo_store.js <url>
 *
 * Standard input carries one call a line, {"verb", "session", "path"}; standard output what it returned or threw, {"value"} or
 * {"error"}. `save` reads `<session>.zip` in the working directory, as the store does. The end of the input ends it.
 */

const readline = require('readline');
const mongoose = require('mongoose');
const { MongoStore } = require('wwebjs-mongo');

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const verbs = {
  save: (store, { session }) => store.save({ session }),
  extract: (store, { session, path }) => store.extract({ session, path }),
  exists: (store, { session }) => store.sessionExists({ session }),
  // It awaits none of its deletions.
  delete: async (store, { session }) => {
    await store.delete({ session });
    while (await store.sessionExists({ session })) await new Promise((resolve) => setTimeout(resolve, 10));
  },
};

(async () => {
  await mongoose.connect(process.argv[2]);
  const store = new MongoStore({ mongoose });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const call = JSON.parse(line);
    try {
      say({ value: (await verbs[call.verb](store, call)) ?? null });
    } catch (error) {
      say({ error: String(error?.stack ?? error) });
    }
  }
  await mongoose.disconnect();
})();
