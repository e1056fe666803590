// Event emitters and models in the manner of the real page: names may be several, separated by spaces, and a handler of
// 'change:x' is called with (model, value, previous value).

export class Emitter {
  #handlers = new Map();

  on(names, handler, context) {
    for (const name of words(names)) {
      if (!this.#handlers.has(name)) this.#handlers.set(name, []);
      this.#handlers.get(name).push({ handler, context, call: handler });
    }
    return this;
  }

  once(names, handler, context) {
    for (const name of words(names)) {
      const call = (...args) => {
        this.off(name, handler);
        handler.apply(context ?? this, args);
      };
      if (!this.#handlers.has(name)) this.#handlers.set(name, []);
      this.#handlers.get(name).push({ handler, context, call });
    }
    return this;
  }

  off(names, handler) {
    for (const name of names === undefined ? [...this.#handlers.keys()] : words(names)) {
      const kept = (this.#handlers.get(name) ?? []).filter((entry) => handler && entry.handler !== handler);
      this.#handlers.set(name, kept);
    }
    return this;
  }

  trigger(names, ...args) {
    for (const name of words(names)) {
      for (const { call, context } of [...(this.#handlers.get(name) ?? [])]) {
        // One client's broken handler must not stop the page.
        try {
          call.apply(context ?? this, args);
        } catch (error) {
          console.error(`a handler of ${name} failed`, error);
        }
      }
    }
    return this;
  }

  listens(name) {
    return (this.#handlers.get(name) ?? []).length > 0;
  }
}

export class Model extends Emitter {
  #names;

  constructor(values) {
    super();
    this.#names = Object.keys(values);
    Object.assign(this, values);
  }

  set(changes) {
    const previous = {};
    for (const [name, value] of Object.entries(changes)) {
      if (this[name] === value) continue;
      previous[name] = this[name];
      this[name] = value;
    }
    for (const name of Object.keys(previous)) this.trigger(`change:${name}`, this, this[name], previous[name]);
    if (Object.keys(previous).length > 0) this.trigger('change', this);
    return this;
  }

  serialize() {
    return Object.fromEntries(this.#names.map((name) => [name, this[name]]));
  }
}

// Of models by their ids; what happens to one is heard at the collection, too.
export class Collection extends Emitter {
  #models = new Map();
  #limit;

  constructor(limit) {
    super();
    this.#limit = limit;
  }

  get(id) {
    return this.#models.get(id?._serialized ?? id);
  }

  getModelsArray() {
    return [...this.#models.values()];
  }

  add(model) {
    this.#models.set(model.id._serialized, model);
    if (this.#models.size > this.#limit) this.#models.delete(this.#models.keys().next().value);
    this.trigger('add', model);
  }
}

const words = (names) => names.split(/\s+/).filter(Boolean);
