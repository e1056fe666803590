'use strict';

/*
 * One save or one restore by unmodified RemoteAuth, measured: node _peer.js '{"verb", "profile", "store"}'
 *
 * "store" is a folder, or the URL of a MongoDB database, which unmodified wwebjs-mongo keeps it in.
 *
 * Prints {"seconds", "extra_bytes"}: the time of the strategy's own method, and how far the process's resident memory rose above
 * what it was before the call.
 */

const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const interop = path.resolve(__dirname, '..', 'tests', 'interop');
const peer = createRequire(path.join(interop, 'package.json'));
const { RemoteAuth } = peer('whatsapp-web.js');
const { FolderStore } = require(path.join(interop, 'folder_store.js'));

// /proc gives the peak since it was reset; elsewhere there is only the peak since the start.
const LINUX = process.platform === 'linux';
const status = (field) =>
  Number(fs.readFileSync('/proc/self/status', 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'))[1]) * 1024;
const peak = () => (LINUX ? status('VmHWM') : process.resourceUsage().maxRSS * 1024);
const reset = () => {
  if (!LINUX) return peak();
  fs.writeFileSync('/proc/self/clear_refs', '5');
  return status('VmRSS');
};

const main = async () => {
  const { verb, profile, store } = JSON.parse(process.argv[2]);
  const dataPath = path.dirname(profile);
  let kept;
  const mongoose = store.startsWith('mongodb') ? peer('mongoose') : null;
  if (mongoose) {
    const { MongoStore } = peer('wwebjs-mongo');
    await mongoose.connect(store);
    // It looks for the zip in the working directory.
    process.chdir(dataPath);
    kept = new MongoStore({ mongoose });
  } else {
    kept = new FolderStore(store, dataPath);
  }
  const strategy = new RemoteAuth({
    dataPath,
    store: kept,
    backupSyncIntervalMs: 60_000,
  });
  // What Client.initialize() sets before either method is called.
  strategy.setup({ options: { puppeteer: {} }, emit: () => {} });
  strategy.userDataDir = profile;
  strategy.sessionName = path.basename(profile);

  const before = reset();
  const began = process.hrtime.bigint();
  await (verb === 'save' ? strategy.storeRemoteSession() : strategy.extractRemoteSession());
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(JSON.stringify({ seconds, extra_bytes: peak() - before }));
  if (mongoose) await mongoose.disconnect();
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
