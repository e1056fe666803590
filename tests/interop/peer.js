'use strict';

/*
 * Runs one unmodified whatsapp-web.js Client for a test.
 *
 *   node peer.js '{"strategy": "LocalAuth", "dataPath": "…", "clientId": "…", "store": "…", "client": {…}}'
 *
 * `client` is handed to the Client's constructor as it is; `store` is the folder of the store that RemoteAuth gets.
 * Standard output carries one JSON object a line: {"event", "args"} for each event, {"initialized": null | error} when
 * initialize() has settled, {"reply": id, "value" | "error"} for each command, {"unhandled": error} for what would have ended
 * a process without a handler. Standard input carries commands: {"id", "call", "args"}; its end ends the browser and the
 * process.
 */

const readline = require('readline');
const { Client, NoAuth, LocalAuth, RemoteAuth, Events } = require('whatsapp-web.js');
const { FolderStore } = require('./folder_store');

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const text = (error) => String(error?.message ?? error);

process.on('unhandledRejection', (error) => say({ unhandled: text(error) }));
process.on('uncaughtException', (error) => say({ unhandled: text(error) }));

const options = JSON.parse(process.argv[2]);
const { strategy, clientId, dataPath, store, backupSyncIntervalMs } = options;

const strategies = {
  NoAuth: () => new NoAuth(),
  LocalAuth: () => new LocalAuth({ clientId, dataPath }),
  RemoteAuth: () =>
    new RemoteAuth({ clientId, dataPath, backupSyncIntervalMs, store: new FolderStore(store, dataPath) }),
};

const authStrategy = strategies[strategy]();
const client = new Client({ ...options.client, authStrategy });

// Message events carry whole objects and are none of a login's; auth_failure, code and the others are.
const WANTED = [
  Events.QR_RECEIVED,
  Events.CODE_RECEIVED,
  Events.LOADING_SCREEN,
  Events.AUTHENTICATED,
  Events.AUTHENTICATION_FAILURE,
  Events.READY,
  Events.STATE_CHANGED,
  Events.DISCONNECTED,
  Events.REMOTE_SESSION_SAVED,
];
for (const event of WANTED) client.on(event, (...args) => say({ event, args }));

const calls = {
  destroy: () => client.destroy(),
  logout: () => client.logout(),
  getState: () => client.getState(),
  requestPairingCode: (...args) => client.requestPairingCode(...args),
  cancelPairingCode: () => client.cancelPairingCode(),
  // Public methods of RemoteAuth: by itself it saves a new session only a minute after `ready`.
  storeRemoteSession: () => authStrategy.storeRemoteSession({ emit: true }),
  info: () => client.info && { wid: client.info.wid, pushname: client.info.pushname, platform: client.info.platform },
};

const input = readline.createInterface({ input: process.stdin });
input.on('line', async (line) => {
  const { id, call, args } = JSON.parse(line);
  try {
    say({ reply: id, value: (await calls[call](...(args ?? []))) ?? null });
  } catch (error) {
    say({ reply: id, error: text(error) });
  }
});
input.on('close', async () => {
  await client.destroy().catch(() => {});
  process.exit(0);
});

client.initialize().then(
  () => say({ initialized: null }),
  (error) => say({ initialized: text(error) }),
);
