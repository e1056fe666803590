'use strict';

/*
 * One verb of the unmodified wwebjs-mongo store.
 *
 *   node mongo_store.js <url> save|extract|exists|delete <session> [<path to extract to>]
 *
 * `save` reads `<session>.zip` in the working directory, as the store does. Standard output carries what the verb returned.
 */

const mongoose = require('mongoose');
const { MongoStore } = require('wwebjs-mongo');

const [url, verb, session, path] = process.argv.slice(2);

const verbs = {
  save: (store) => store.save({ session }),
  extract: (store) => store.extract({ session, path }),
  exists: (store) => store.sessionExists({ session }),
  delete: (store) => store.delete({ session }),
};

(async () => {
  await mongoose.connect(url);
  const value = await verbs[verb](new MongoStore({ mongoose }));
  // It does not await its deletions; the connection waits for what is under way.
  await new Promise((resolve) => setTimeout(resolve, 100));
  await mongoose.disconnect();
  process.stdout.write(JSON.stringify(value ?? null));
})().catch((error) => {
  process.stderr.write(`${error?.stack ?? error}\n`);
  process.exit(1);
});
