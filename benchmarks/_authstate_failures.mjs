/*
 * Does one thing with the unmodified Baileys in a folder, as a bot does it, and says what came of it: the peer of
 * tests/faults/authstate_failing.py, with the same words.
 *
 *   node _authstate_failures.mjs '{"do": "save", "folder": "…", "bytes": 10}'
 */

import { createRequire } from 'module';
import { pathToFileURL } from 'url';
import { join } from 'path';

// The peers are installed beside the tests that use them.
const peers = createRequire(join(import.meta.dirname, '..', 'tests', 'interop', 'package.json'));
const { Curve, useMultiFileAuthState } = await import(pathToFileURL(peers.resolve('@whiskeysockets/baileys')));

const job = JSON.parse(process.argv[2]);
const ids = Array.from({ length: job.count ?? 0 }, (_, n) => String(1001 + n));

async function work() {
  const { state, saveCreds } = await useMultiFileAuthState(job.folder);
  switch (job.do) {
    case 'save':
      state.creds.additionalData = { note: 'x'.repeat(job.bytes) };
      await saveCreds();
      break;
    case 'set': {
      const values = Object.fromEntries(ids.map((id) => [id, Curve.generateKeyPair()]));
      if (job.bytes) values[ids.at(-1)].note = 'x'.repeat(job.bytes);
      await state.keys.set({ 'pre-key': values });
      break;
    }
    case 'get': {
      const found = await state.keys.get('pre-key', ids);
      return { found: Object.values(found).filter(Boolean).length };
    }
    case 'loop':
      console.log(JSON.stringify({ error: '' }));
      for (;;) {
        state.creds.accountSyncCounter += 1;
        await saveCreds();
      }
    case 'read': {
      // What another process sees of credentials that are saved meanwhile.
      const { readFileSync } = await import('fs');
      const seen = { reads: 0, torn: 0 };
      for (const end = Date.now() + 1000 * job.seconds; Date.now() < end; ) {
        seen.reads += 1;
        try {
          JSON.parse(readFileSync(join(job.folder, 'creds.json'), 'utf-8'));
        } catch {
          seen.torn += 1;
        }
      }
      return seen;
    }
  }
  return { identity: state.creds.signedIdentityKey.public.toString('base64') };
}

let told;
try {
  told = { error: '', ...(await work()) };
} catch (error) {
  told = { error: error.code ?? error.name, message: error.message };
}
console.log(JSON.stringify(told));
process.exit(0);
