/*
 * A bot with real Baileys and its own useMultiFileAuthState; it knows nothing of Python, nor of who backs up its folder.
 *
 *   npm install && node bot.mjs FOLDER MESSAGES
 *
 * So that it runs without a network and without a phone, it has no socket: `receive` changes the login as a message from
 * somebody new does. A bot of your own has `makeWASocket({ auth: state })` and `sock.ev.on('creds.update', saveCreds)` there.
 */

import { addTransactionCapability, Curve, getNextPreKeys, useMultiFileAuthState } from '@whiskeysockets/baileys';

const [folder, messages] = [process.argv[2], Number(process.argv[3])];
const { state, saveCreds } = await useMultiFileAuthState(folder);
const { creds } = state;

const logger = { level: 'silent', child: () => logger };
for (const word of ['trace', 'debug', 'info', 'warn', 'error']) logger[word] = () => {};
const keys = addTransactionCapability(state.keys, logger, { maxCommitRetries: 10, delayBetweenTriesMs: 3000 });

/** What the server's answer to a scanned QR code leaves. */
async function link() {
  const phone = Curve.generateKeyPair();
  const details = Buffer.from('CJWa7zoQgIvSuwYYByAAKAA=', 'base64');
  const own = creds.signedIdentityKey;
  const account = { details, accountSignatureKey: phone.public };
  account.accountSignature = Curve.sign(phone.private, Buffer.concat([Buffer.from([6, 0]), details, own.public]));
  const ours = Buffer.concat([Buffer.from([6, 1]), details, own.public, phone.public]);
  account.deviceSignature = Curve.sign(own.private, ours);
  creds.account = Object.fromEntries(Object.entries(account).map(([name, bytes]) => [name, bytes.toString('base64')]));
  creds.me = { id: '15550001111:7@s.whatsapp.net', lid: '99000000000001:7@lid', name: 'Bot' };
}

/** What a message from somebody new changes: who they are, a pre-key or five, the credentials. */
async function receive() {
  const number = (creds.accountSyncCounter += 1);
  const [user, lid] = [`1555${1000000 + number}`, `99${100000000000 + number}`];
  await keys.transaction(async () => {
    await keys.set({ 'lid-mapping': { [user]: lid, [`${lid}_reverse`]: user }, 'device-list': { [user]: ['0'] } });
    Object.assign(creds, (await getNextPreKeys({ creds, keys }, 5)).update);
  }, user);
  await saveCreds();
}

if (!creds.me) await link();
for (let n = 0; n < messages; n++) await receive();
await saveCreds();
const own = creds.signedIdentityKey.public.toString('base64');
console.log(`${creds.me.name} ${own} has seen ${creds.accountSyncCounter} messages and made ${creds.nextPreKeyId - 1} pre-keys`);
process.exit(0);
