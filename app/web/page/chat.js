// Channels, the conversation of one of them, and the field to write in.

import { $, isolated, make, reconcile, shortId, time } from "./dom.js";
import { Refused, intend, newId } from "./intents.js";

const MARKS = {
  sending: ["◐", "being sent"],
  failed: ["✗", "not delivered"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  read: ["✓✓", "read"],
};
const AGREEMENTS = { soft_safe: ["⚠", "certified, may still be taken back"], finalized: ["◆", "final"] };

export class Chat {
  constructor(tell) {
    this.tell = tell;
    this.state = { channels: {}, messages: {}, total_unread: 0 };
    this.chosen = null; // the key of a channel: JSON of [context, id]
    this.sending = []; // what the server has not answered yet
    this.about = null; // { kind: "edit" | "reply", message }
    this.drafts = new Map();
    this.marked = new Set(); // ids that were said to be read
    this.channelOf = null;
    this.isAtEnd = true;
    this.wasShown = false;
    $("composer").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    $("composer-cancel").addEventListener("click", () => this.writeAbout(null));
    $("composer-text").addEventListener("keydown", (event) => this.onKey(event));
    $("new-channel").addEventListener("submit", (event) => { event.preventDefault(); this.create(); });
    document.addEventListener("visibilitychange", () => this.markRead());
  }

  get channel() { return this.state.channels[this.chosen]; }
  get messages() { return this.state.messages[this.chosen] ?? []; }
  get place() { return { context_id: this.channel.context_id, channel_id: this.channel.id }; }

  show(state) {
    this.state = state;
    if (!this.channel) this.chosen = this.keys()[0] ?? null;
    this.draw();
  }

  keys() {
    const { channels } = this.state;
    return Object.keys(channels).sort((one, other) => channels[other].last_activity - channels[one].last_activity || (one < other ? -1 : 1));
  }

  draw() {
    const { channels } = this.state;
    const rows = this.keys().map((key) => this.rowOf(key, channels[key]));
    reconcile($("channels"), rows, (row) => row.key, ({ key, channel, isChosen }) => this.drawChannel(key, channel, isChosen));
    const channel = this.channel;
    $("channel-name").textContent = channel ? channel.name : "No channel yet";
    $("channel-topic").textContent = channel?.topic ?? "";
    $("composer-text").disabled = $("composer-send").disabled = !channel;
    this.drawMessages();
    this.markRead();
  }

  // One object as long as nothing of it changed, so that its element stays.
  rowOf(key, channel) {
    this.rows ??= new Map();
    const isChosen = key === this.chosen;
    const kept = this.rows.get(key);
    if (kept && kept.channel === channel && kept.isChosen === isChosen) return kept;
    const row = { key, channel, isChosen };
    this.rows.set(key, row);
    return row;
  }

  drawChannel(key, channel, isChosen) {
    const button = make("button", { type: "button", "aria-current": String(isChosen), on: { click: () => this.choose(key) } }, isolated(channel.name));
    if (channel.unread_count) {
      button.append(make("span", { class: "badge", "aria-label": `${channel.unread_count} unread` }, String(channel.unread_count)));
    }
    return make("li", {}, button);
  }

  choose(key) {
    this.drafts.set(this.chosen, $("composer-text").value);
    this.writeAbout(null);
    this.chosen = key;
    $("composer-text").value = this.drafts.get(key) ?? "";
    this.draw();
    $("composer-text").focus();
  }

  drawMessages() {
    const list = $("messages");
    if (this.channelOf !== this.chosen) {
      // Another conversation is no news: nothing of it is read out.
      list.replaceChildren();
      list.known = new Map();
    }
    // Who has scrolled up to read stays there; a list that is not shown has no position of its own.
    const isShown = list.clientHeight > 0;
    if (this.channelOf !== this.chosen) this.isAtEnd = true;
    else if (isShown && this.wasShown) this.isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    this.wasShown = isShown;
    this.channelOf = this.chosen;
    const shown = new Set(this.messages.map((message) => message.id));
    this.sending = this.sending.filter((each) => !shown.has(each.id));
    const items = [...this.messages, ...this.sending.filter((each) => each.key === this.chosen)];
    this.byId = new Map(items.map((message) => [message.id, message]));
    reconcile(list, items, (message) => message.id, (message) => this.drawMessage(message));
    if (this.isAtEnd) list.scrollTop = list.scrollHeight;
  }

  drawMessage(message) {
    const who = make("div", { class: "who" }, isolated(message.sender_name || shortId(message.sender_id), { class: "name", title: message.sender_id }), time(message.timestamp));
    if (message.edit_count) who.append(make("span", { class: "quiet" }, "edited"));
    if (message.imported_by) who.append(make("span", { class: "quiet" }, "from ", isolated(message.source ?? "elsewhere")));
    if (message.is_own && message.delivery_status !== "sending") {
      who.append(make("span", { class: "actions" },
        this.action("Edit", message, () => this.writeAbout({ kind: "edit", message })),
        this.action("Delete", message, () => this.remove(message))));
    } else if (!message.is_own) {
      who.append(make("span", { class: "actions" }, this.action("Reply", message, () => this.writeAbout({ kind: "reply", message }))));
    }
    who.append(this.marks(message));
    const item = make("li", { class: message.is_own ? "message own" : "message", "data-message": message.id }, who);
    if (message.reply_to) {
      const original = this.byId?.get(message.reply_to);
      item.append(make("div", { class: "reply quiet" }, isolated(original ? `${original.sender_name}: ${original.content}` : "a message that is not shown")));
    }
    item.append(isolated(message.content, { class: "said", dir: "auto" }));
    return item;
  }

  action(name, message, act) {
    return make("button", { type: "button", "aria-label": `${name} “${message.content.slice(0, 40)}”`, on: { click: act } }, name);
  }

  marks(message) {
    const marks = make("span", { class: `mark ${message.delivery_status}` });
    const add = ([sign, meaning]) => marks.append(make("span", { role: "img", "aria-label": meaning, title: meaning }, sign));
    if (message.is_own) add(MARKS[message.delivery_status] ?? MARKS.sent);
    if (AGREEMENTS[message.agreement]) add(AGREEMENTS[message.agreement]);
    return marks;
  }

  writeAbout(about) {
    const field = $("composer-text");
    if (this.about?.kind === "edit" && about === null) field.value = "";
    this.about = about;
    $("composer-about").hidden = about === null;
    if (about === null) return;
    $("composer-about-text").textContent = about.kind === "edit" ? "You are changing a message." : `You reply to ${about.message.sender_name}.`;
    if (about.kind === "edit") field.value = about.message.content;
    field.focus();
  }

  onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); this.send(); }
    else if (event.key === "Escape") this.writeAbout(null);
    else if (event.key === "ArrowUp" && $("composer-text").value === "") {
      const last = this.messages.findLast((message) => message.is_own && !message.imported_by);
      if (last) { event.preventDefault(); this.writeAbout({ kind: "edit", message: last }); }
    }
  }

  async send() {
    const field = $("composer-text");
    const text = field.value;
    if (!text.trim() || !this.channel) return;
    const { about, chosen: key, place } = this;
    field.value = "";
    this.about = null;
    $("composer-about").hidden = true;
    try {
      if (about?.kind === "edit") await intend("edit_message", { ...place, message_id: about.message.id, text });
      else await this.sendNew({ ...place, message_id: newId(), text, ...(about ? { reply_to: about.message.id } : {}) }, key);
    } catch (problem) {
      if (!(problem instanceof Refused)) throw problem;
      this.tell(problem.message);
      // What was written is not lost; it waits in its own channel.
      if (this.chosen !== key) this.drafts.set(key, text);
      else if (!field.value) { field.value = text; if (about) { this.about = about; $("composer-about").hidden = false; } }
    }
  }

  async sendNew(fields, key) {
    this.sending = [...this.sending, {
      id: fields.message_id, key, sender_id: "", sender_name: "you", content: fields.text, timestamp: Date.now(), is_own: true,
      delivery_status: "sending", agreement: "provisional", reply_to: fields.reply_to ?? null, edit_count: 0, imported_by: null,
    }];
    this.drawMessages();
    try {
      await intend("send_message", fields);
    } catch (problem) {
      this.sending = this.sending.filter((each) => each.id !== fields.message_id);
      this.drawMessages();
      throw problem;
    }
  }

  async remove(message) {
    if (confirm("Take this message back for everybody?")) await this.tell.of(intend("delete_message", { ...this.place, message_id: message.id }));
  }

  async create() {
    const field = $("new-channel-name");
    const done = await this.tell.of(intend("create_channel", { name: field.value }));
    if (done) field.value = "";
  }

  // What is on the screen of somebody who looks is read.
  markRead() {
    if (document.visibilityState !== "visible" || $("panel-chat").hidden || !this.channel) return;
    const fresh = this.messages.filter((message) => !message.is_own && !message.is_read && !this.marked.has(message.id)).map((message) => message.id);
    if (!fresh.length) return;
    for (const id of fresh) this.marked.add(id);
    intend("mark_read", { ...this.place, message_ids: fresh }).catch(() => { for (const id of fresh) this.marked.delete(id); });
  }
}
