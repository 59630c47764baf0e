// Follows a stream of events: keeps the newest document of each topic, and says which ones changed, all at once.
// EventSource reconnects by itself with the id of the last event, and the server goes on from there.

import { Gap, applyPatch } from "./patch.js";

export class Feed {
  constructor(asked, { changed, linked }) {
    this.asked = asked;
    this.changed = changed;
    this.linked = linked;
    this.documents = {};
    this.versions = {};
    this.shown = null; // the channel whose messages are followed
    this.last = null; // the id of the last event: how far this is
    this.open();
  }

  // Follows the messages of another channel beside the rest, and goes on with the rest where it is.
  show(key) {
    if (this.shown === key) return;
    this.shown = key;
    const { messages: _, ...documents } = this.documents;
    this.documents = documents;
    this.close();
    this.open();
  }

  open() {
    const asked = new URLSearchParams({ ...this.asked, ...(this.shown === null ? {} : { shown: this.shown }), ...(this.last === null ? {} : { last: this.last }) });
    this.source = new EventSource(asked.size ? `events?${asked}` : "events");
    // A page that has nothing yet is not live, however open its stream is.
    this.source.addEventListener("open", () => { if (this.isFilled) this.linked(true); });
    this.source.addEventListener("error", () => {
      this.linked(false);
      // A server that refuses (another token, say) ends the source for good; ask again, slowly.
      if (this.source.readyState === EventSource.CLOSED) this.again = setTimeout(() => this.open(), 5000);
    });
    this.source.addEventListener("deltas", (event) => { this.last = event.lastEventId; this.take(JSON.parse(event.data)); });
  }

  close() {
    clearTimeout(this.again);
    this.source.close();
  }

  get isFilled() { return Object.keys(this.documents).length > 0; }

  take(changes) {
    const documents = { ...this.documents };
    const versions = { ...this.versions };
    try {
      for (const [topic, deltas] of Object.entries(changes)) {
        for (const delta of deltas) {
          if (delta.base === null) documents[topic] = delta.document;
          else if (delta.base !== versions[topic]) throw new Gap(`${topic}: version ${delta.base} is wanted, ${versions[topic]} is here`);
          else documents[topic] = applyPatch(documents[topic], delta.patch);
          versions[topic] = delta.seq;
        }
      }
    } catch (problem) {
      if (!(problem instanceof Gap)) throw problem;
      // Everything anew.
      this.last = null;
      this.close();
      this.open();
      return;
    }
    const isFirst = !this.isFilled;
    this.documents = documents;
    this.versions = versions;
    this.changed(new Set(Object.keys(changes)), documents);
    if (isFirst) this.linked(true);
  }
}
