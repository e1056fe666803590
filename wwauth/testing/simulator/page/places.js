// Where the login lies: three IndexedDB databases, as the real page has several, and localStorage. Reading and writing alone;
// what belongs into them is decided in keys.js and ratchet.js, and what is wrong with them in audit.js.

export const DATABASES = {
  'signal-storage': { 'identity-store': 'name', 'prekey-store': 'id', 'session-store': 'id', seal: 'name' },
  'model-storage': { message: 'seq', seal: 'name' },
  wawc: { keys: 'name', 'user-prefs': 'name', seal: 'name' },
};

const VERSION = 1;

export const LOCAL_SEAL = 'WALoginSeal';
export const LOCAL_LOGIN = ['WANoiseInfo', 'WAAdvSecretKey', 'last-wid-md'];

// One document at a time reads or writes the login: the databases have no transaction across them, and a profile may have two tabs.
export const exclusively = (work) => navigator.locks.request('login', work);

export const existing = async () => new Set((await indexedDB.databases()).map(({ name }) => name));

// Opening creates what is missing, which would hide the loss: unless `create` is said, that is undone and an error.
export const open = (name, { create = false } = {}) =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open(name, VERSION);
    let empty = false;
    request.onupgradeneeded = () => {
      if (create) {
        for (const [store, keyPath] of Object.entries(DATABASES[name])) request.result.createObjectStore(store, { keyPath });
      } else {
        empty = true;
        request.transaction.abort();
      }
    };
    request.onsuccess = () => {
      const database = request.result;
      database.onversionchange = () => database.close();
      resolve(database);
    };
    request.onerror = () => reject(empty ? new Error('it is empty') : request.error);
  });

export const openAll = async () => {
  const databases = {};
  for (const name of Object.keys(DATABASES)) databases[name] = await open(name, { create: true });
  return databases;
};

const answer = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = (event) => {
      event.preventDefault(); // one record that cannot be read does not end the others' transaction
      reject(request.error);
    };
  });

export const read = async (database, store, key) => answer(database.transaction(store, 'readonly').objectStore(store).get(key));

export const readRange = async (database, store, range) =>
  answer(database.transaction(store, 'readonly').objectStore(store).getAll(range));

export const readKeys = async (database, store, range) =>
  answer(database.transaction(store, 'readonly').objectStore(store).getAllKeys(range));

// Writes records, by stores, all of them or none. Relaxed durability is the default of the real page: the system, not the disk, has them.
export const write = (database, records) =>
  new Promise((resolve, reject) => {
    const transaction = database.transaction(Object.keys(records), 'readwrite', { durability: 'relaxed' });
    for (const [store, values] of Object.entries(records)) {
      for (const value of values) transaction.objectStore(store).put(value);
    }
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was aborted'));
  });

const drop = (name) =>
  new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = resolve;
    request.onerror = () => reject(request.error);
  });

// Deletes the login. The names of those that ended stay: localStorage on the disk may hold one of them for another minute.
export const wipe = async (databases, ended) => {
  for (const database of Object.values(databases ?? {})) database.close();
  for (const name of Object.keys(DATABASES)) await drop(name);
  localStorage.clear();
  if (ended.length === 0) return;
  const database = await open('wawc', { create: true });
  await write(database, { 'user-prefs': [{ name: 'ended', logins: ended.slice(-20) }] });
  database.close();
};
