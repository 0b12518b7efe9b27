// Says an answer to a screen reader in whole sentences while it is written.
import { announce } from "./dom.js";

const kLongest = 300;  // characters without the end of a sentence, after which a part is said all the same

export class Speaker {
  #unsaid = "";

  add(text) {
    this.#unsaid += text;
    // Up to the last end of a sentence that is followed by white space.
    const ends = [...this.#unsaid.matchAll(/[.!?:…。！？]["')\]]*\s|\n/g)];
    const last = ends.at(-1);
    if (last) {
      this.#say(last.index + last[0].length);
    } else if (this.#unsaid.length > kLongest) {
      this.#say(this.#unsaid.lastIndexOf(" ") + 1 || this.#unsaid.length);
    }
  }

  end() {
    this.#say(this.#unsaid.length);
  }

  #say(length) {
    const text = this.#unsaid.slice(0, length).trim();
    this.#unsaid = this.#unsaid.slice(length);
    if (text) announce(text);
  }
}
