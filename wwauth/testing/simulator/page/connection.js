// The page's WebSocket: tries until it is there, hands messages over one after the other.

export class Connection {
  #socket = null;
  #retry = null;
  #ended = false;
  #order = Promise.resolve();
  #handlers;
  #retryDelay;

  // `handlers`: opened(), lost(), received(message), which may be asynchronous, and failed(error), when one of these did.
  constructor(handlers, retryDelay) {
    this.#handlers = handlers;
    this.#retryDelay = retryDelay;
  }

  open() {
    if (this.#ended) return;
    clearTimeout(this.#retry);
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(`${scheme}//${location.host}/ws`);
    this.#socket = socket;
    let opened = false;
    const current = (work) => {
      this.#order = this.#order
        .then(() => this.#socket === socket && work())
        .catch((error) => this.#handlers.failed(error));
    };
    socket.onopen = () => {
      opened = true;
      current(() => this.#handlers.opened());
    };
    socket.onmessage = ({ data }) => current(() => this.#handlers.received(JSON.parse(data)));
    socket.onclose = () => {
      if (this.#socket !== socket || this.#ended) return;
      this.#socket = null;
      if (opened) this.#handlers.lost();
      this.#retry = setTimeout(() => this.open(), this.#retryDelay() * 1000);
    };
  }

  get socket() {
    return this.#socket;
  }

  // The connection goes, and nobody is told: what clients know as a ghost.
  vanish() {
    const old = this.#socket;
    this.#socket = null;
    old?.close();
  }

  // Drops the present connection and opens another.
  reopen() {
    const old = this.#socket;
    this.#socket = null;
    old?.close();
    this.open();
  }

  // Tells whether there was a connection to send it on.
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#retry);
  }
}
