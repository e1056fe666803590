'use strict';

/*
 * Copies profiles as unmodified whatsapp-web.js does at each backup: a line {"profile", "copy"} in, a line {"error"} out.
 *
 * It is the first half of RemoteAuth.compressSession(); the second zips what this half has copied, and adds no risk to it.
 */

const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');

const { RemoteAuth } = createRequire(path.resolve(__dirname, '..', 'interop', 'package.json'))('whatsapp-web.js');

const strategy = new RemoteAuth({ store: {}, backupSyncIntervalMs: 60_000 });

const main = async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { profile, copy } = JSON.parse(line);
    let error = null;
    try {
      await strategy.copyByRequiredDirs(path.join(profile, 'Default'), path.join(copy, 'Default'));
    } catch (thrown) {
      error = String(thrown.message);
    }
    console.log(JSON.stringify({ error }));
  }
};

main();
