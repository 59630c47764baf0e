// Channels, the conversation of one of them, and the field to write in.

import { $, isolated, make, reconcile, shortId, time } from "./dom.js";
import { Refused, earlier, intend, newId } from "./intents.js";

const MARKS = {
  sending: ["◐", "being sent"],
  failed: ["✗", "not delivered"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  read: ["✓✓", "read"],
};
const SIGNS = ["👍", "❤️", "😂", "🎉", "😮", "😢"];
const AGREEMENTS = { soft_safe: ["⚠", "certified, may still be taken back"], finalized: ["◆", "final"] };

export class Chat {
  constructor(tell, world, follow) {
    this.tell = tell;
    this.follow = follow; // told which channel is shown
    this.world = world;
    this.held = new Map(); // id of a message -> it with who acknowledged it, one object while neither changes
    this.state = { channels: {}, total_unread: 0 };
    this.messagesOf = new Map(); // by channel, of those that were looked at: the newest ones when that was
    this.chosen = null; // the key of a channel: JSON of [context, id]
    this.outbox = []; // messages and changes that the server has not taken: on their way, or refused
    this.changes = new Map(); // id of a message that is on its way -> what it is to say instead
    this.posting = Promise.resolve(); // when the newest of them has its answer
    this.givenBack = null; // { id, key, text } of what went back into the field: sent unchanged, it is the same message
    this.about = null; // { kind: "edit" | "reply", message }
    this.drafts = new Map();
    this.marked = new Set(); // ids that were said to be read
    this.older = { key: null, messages: [], isAll: false }; // what was scrolled back to, of one channel, as it was then
    this.editsNext = false;
    this.channelOf = null;
    this.isAtEnd = true;
    this.wasShown = false;
    $("composer").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    $("composer-cancel").addEventListener("click", () => this.writeAbout(null));
    $("composer-text").addEventListener("keydown", (event) => this.onKey(event));
    $("earlier").addEventListener("click", () => this.goBack());
    $("topic-change").addEventListener("click", () => this.changeTopic());
    $("new-channel").addEventListener("submit", (event) => { event.preventDefault(); this.create(); });
    document.addEventListener("visibilitychange", () => this.markRead());
  }

  get channel() { return this.state.channels[this.chosen]; }
  get messages() { return this.messagesOf.get(this.chosen) ?? []; }
  get olderOnes() { return this.older.key === this.chosen ? this.older.messages : []; }
  get place() { return { context_id: this.channel.context_id, channel_id: this.channel.id }; }

  show(state) {
    this.state = state;
    // What was being written for a channel that is gone must not be sent to another one.
    if (!this.channel) this.turnTo(this.successor(this.chosen) ?? this.keys()[0] ?? null);
    this.draw();
  }

  // The messages of a channel as they are now.
  take(key, messages) {
    if (this.messagesOf.get(key) === messages) return;
    this.messagesOf.set(key, messages);
    if (key !== this.chosen) return;
    this.drawMessages();
    this.markRead();
    if (this.editsNext && $("composer-text").value === "") this.editLast();
    this.editsNext = false;
    // What was there before it was looked at is no news: nothing of it is read out.
    if ($("messages").ariaLive === "off") setTimeout(() => { $("messages").ariaLive = "polite"; }, 100);
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
    $("topic-change").hidden = !channel;
    this.allowWriting();
    this.drawMessages();
    this.markRead();
  }

  // Nothing can be typed that could not be sent; the field can be focused all the same, so that the way to it is not lost.
  allowWriting() {
    const field = $("composer-text");
    field.readOnly = $("composer-send").disabled = !this.channel;
    field.placeholder = this.channel ? "" : "Begin a channel to write in.";
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

  // The channel that a provisional one became part of: what was being written for it goes along.
  successor(key) {
    if (key === null) return undefined;
    const [context_id, id] = JSON.parse(key);
    const found = this.keys().find((each) => this.state.channels[each].context_id === context_id && this.state.channels[each].merged_ids.includes(id));
    if (found && !this.drafts.get(found)) this.drafts.set(found, $("composer-text").value);
    return found;
  }

  turnTo(key) {
    if (this.about?.kind !== "edit") this.drafts.set(this.chosen, $("composer-text").value);
    this.writeAbout(null);
    this.chosen = key;
    this.editsNext = false;
    $("composer-text").value = this.drafts.get(key) ?? "";
    $("messages").ariaLive = "off";
    this.follow(key);
  }

  choose(key) {
    this.turnTo(key);
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
    const known = new Set(this.messages.map((message) => message.id));
    const messages = [...this.olderOnes.filter((message) => !known.has(message.id)), ...this.messages].map((message) => this.withPeers(message));
    $("earlier").hidden = !this.channel?.has_more || (this.older.key === this.chosen && this.older.isAll);
    const shown = new Set(messages.map((message) => message.id));
    this.outbox = this.outbox.filter((each) => !shown.has(each.id));
    this.items = [...messages, ...this.outbox.filter((each) => each.key === this.chosen && (each.about?.kind !== "edit" || each.delivery_status === "failed"))];
    this.byId = new Map(this.items.map((message) => [message.id, message]));
    reconcile(list, this.items, (message) => message.id, (message) => this.drawMessage(message));
    if (this.isAtEnd) list.scrollTop = list.scrollHeight;
  }

  // Shows what was said before the oldest message that is shown; who reads stays where they are.
  async goBack() {
    const { chosen: key, place } = this;
    const list = $("messages");
    const oldest = this.items[0];
    if (!oldest) return;
    const page = await earlier(place, oldest.id).catch((problem) => { this.tell(problem.message); return null; });
    if (page === null || this.chosen !== key) return;
    const fromEnd = list.scrollHeight - list.scrollTop;
    this.older = { key, messages: [...page, ...this.olderOnes], isAll: page.length === 0 };
    list.ariaLive = "off"; // what was said long ago is no news
    this.drawMessages();
    list.scrollTop = list.scrollHeight - fromEnd;
    setTimeout(() => { list.ariaLive = "polite"; }, 100);
    this.markRead();
  }

  // What is done about a message that the stream no longer tells of is seen by looking again.
  async lookAgain(message) {
    if (!this.olderOnes.some((each) => each.id === message.id)) return;
    const { chosen: key, place } = this;
    const next = [...this.olderOnes, ...this.messages][this.olderOnes.findIndex((each) => each.id === message.id) + 1];
    const page = next ? await earlier(place, next.id).catch(() => []) : [];
    const found = page.find((each) => each.id === message.id);
    if (this.older.key !== key) return;
    const others = this.older.messages.flatMap((each) => (each.id !== message.id ? [each] : found ? [found] : []));
    this.older = { ...this.older, messages: others };
    this.drawMessages();
  }

  // As delivered, when somebody acknowledged it and nothing more is known.
  withPeers(message) {
    const peers = this.world.acknowledged[message.fact_id];
    if (!peers || !message.is_own || message.delivery_status !== "sent") return message;
    const held = this.held.get(message.id);
    if (held && held.message === message && held.peers === peers) return held.item;
    const item = { ...message, delivery_status: "delivered", acknowledged_by: peers };
    this.held.set(message.id, { message, peers, item });
    return item;
  }

  drawMessage(message) {
    const who = make("div", { class: "who" }, isolated(message.sender_name || shortId(message.sender_id), { class: "name", title: message.sender_id }), time(message.timestamp));
    if (message.edit_count) who.append(make("span", { class: "quiet" }, "edited"));
    if (message.imported_by) who.append(make("span", { class: "quiet" }, "from ", isolated(message.source ?? "elsewhere")));
    if (message.key !== undefined) {
      if (message.about?.kind === "edit") who.append(make("span", { class: "quiet" }, "your change of a message"));
      if (message.delivery_status === "failed") {
        who.append(make("span", { class: "actions unsent" },
          this.action("Try again", message, () => this.post(message)),
          this.action("Discard", message, () => this.forget(message.id))));
      }
    } else if (message.is_own) {
      who.append(make("span", { class: "actions" },
        this.reactAction(message),
        this.action("Edit", message, () => this.writeAbout({ kind: "edit", message })),
        this.action("Delete", message, () => this.remove(message))));
    } else if (!message.is_own) {
      who.append(make("span", { class: "actions" }, this.reactAction(message), this.action("Reply", message, () => this.writeAbout({ kind: "reply", message }))));
    }
    who.append(this.marks(message));
    const item = make("li", { class: message.is_own ? "message own" : "message", "data-message": message.id }, who);
    if (message.reply_to) {
      const original = this.byId?.get(message.reply_to);
      item.append(make("div", { class: "reply quiet" }, isolated(original ? `${original.sender_name}: ${original.content}` : "a message that is not shown")));
    }
    item.append(isolated(message.content, { class: "said", dir: "auto" }));
    if (message.reactions?.length) {
      item.append(make("div", { class: "reactions", role: "group", "aria-label": "Reactions" }, ...message.reactions.map(([sign, by]) => this.reaction(message, sign, by))));
    }
    return item;
  }

  // A sign with how many put it there; pressing it puts one's own there or takes it back.
  reaction(message, sign, by) {
    const isOwn = by.includes(this.world.me.authority);
    const names = by.map((who) => (who === this.world.me.authority ? "you" : this.world.nameOf(who))).join(", ");
    return make("button", { type: "button", title: names, "aria-pressed": String(isOwn), "aria-label": `${sign}, ${by.length}: ${names}`,
      on: { click: () => this.react(message, sign, isOwn) } }, isolated(sign), ` ${by.length}`);
  }

  reactAction(message) {
    const button = this.action("React", message, () => {
      const signs = SIGNS.map((sign) => make("button", { type: "button", "aria-label": `React with ${sign}`, on: { click: () => { signs[0].parentElement.replaceChildren(button); this.react(message, sign, false); } } }, sign));
      button.replaceWith(make("span", { class: "signs", role: "group", "aria-label": "Signs" }, ...signs));
      signs[0].focus();
    });
    return button;
  }

  async react(message, reaction, is_taken_back) {
    const { context_id, channel_id } = this.place;
    await this.tell.of(intend("react_to_message", { context_id, channel_id, message_id: message.id, reaction, is_taken_back }));
    await this.lookAgain(message);
  }

  action(name, message, act) {
    return make("button", { type: "button", "aria-label": `${name} “${message.content.slice(0, 40)}”`, on: { click: act } }, name);
  }

  marks(message) {
    const marks = make("span", { class: `mark ${message.delivery_status}` });
    const add = ([sign, meaning]) => marks.append(make("span", { role: "img", "aria-label": meaning, title: meaning }, sign));
    const [sign, meaning] = MARKS[message.delivery_status] ?? MARKS.sent;
    const peers = (message.acknowledged_by ?? []).map((who) => this.world.nameOf(who)).join(", ");
    if (message.is_own) add([sign, peers ? `${meaning} to ${peers}` : meaning]);
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
    else if (event.key === "ArrowUp" && $("composer-text").value === "" && this.channel) {
      event.preventDefault();
      // Before the messages of this channel are here, the last own one is changed when they come.
      this.editsNext = !this.messagesOf.has(this.chosen);
      this.editLast();
    }
  }

  editLast() {
    const last = this.items.findLast((message) => message.is_own && !message.imported_by && message.about?.kind !== "edit");
    if (last) this.writeAbout({ kind: "edit", message: last });
  }

  // Empties the field at once, so that the next thing can be typed while this one is on its way.
  send() {
    const field = $("composer-text");
    const text = field.value;
    if (!text.trim() || !this.channel) return;
    const { about, chosen: key, place, givenBack } = this;
    field.value = "";
    this.givenBack = null;
    this.writeAbout(null);
    const waiting = about?.kind === "edit" && this.outbox.find((each) => each.id === about.message.id && !each.isTaken);
    if (waiting && waiting.delivery_status === "sending") { this.changes.set(waiting.id, text); return; }
    // What was never taken is no message yet that could be changed: it goes anew.
    if (waiting) this.outbox = this.outbox.filter((each) => each !== waiting);
    const meant = waiting ? waiting.about : about;
    const isSame = givenBack && givenBack.key === key && givenBack.text === text && !meant;
    this.post({
      id: isSame ? givenBack.id : newId(this.world.me.authority), key, place, about: meant,
      sender_id: "", sender_name: "you", content: text, timestamp: Date.now(), is_own: true, agreement: "provisional",
      reply_to: meant?.kind === "reply" ? meant.message.id : null, edit_count: 0, imported_by: null,
    });
  }

  // One after the other, in the order of writing: two requests at once could overtake each other.
  post(item) {
    this.replaceSent({ ...item, delivery_status: "sending" });
    this.posting = this.posting.then(() => this.deliver(item));
  }

  async deliver(item) {
    try {
      if (item.about?.kind === "edit") {
        await this.edit(item, item.about.message.id, item.content);
        this.forget(item.id);
        await this.lookAgain(item.about.message);
      } else {
        await intend("send_message", { ...item.place, message_id: item.id, text: item.content, ...(item.reply_to ? { reply_to: item.reply_to } : {}) });
        // It is kept until the stream shows it, so that it does not vanish for a moment.
        if (this.outbox.some((each) => each.id === item.id)) this.replaceSent({ ...item, delivery_status: "sending", isTaken: true });
        // It was changed while it was on its way.
        if (this.changes.has(item.id)) await this.edit(item, item.id, this.changes.get(item.id));
      }
    } catch (problem) {
      this.giveBack(item);
      this.tell(problem.message);
      if (!(problem instanceof Refused)) reportError(problem);
    } finally {
      this.changes.delete(item.id);
    }
  }

  replaceSent(item) {
    this.outbox = [...this.outbox.filter((each) => each.id !== item.id), item];
    this.drawMessages();
  }

  edit({ place }, message_id, text) {
    return intend("edit_message", { ...place, message_id, text });
  }

  forget(id) {
    this.outbox = this.outbox.filter((each) => each.id !== id);
    this.drawMessages();
  }

  // What was not taken goes back into its field. Where something else is being written by now, or another channel is
  // shown, it stays in its conversation and says so: nothing that somebody typed is lost, and nothing is overwritten.
  giveBack(item) {
    const field = $("composer-text");
    const text = this.changes.get(item.id) ?? item.content;
    const isSame = text === item.content;
    const isTaken = [...(this.messagesOf.get(item.key) ?? []), ...this.outbox.filter((each) => each.isTaken)].some((each) => each.id === item.id);
    if (!isTaken) this.forget(item.id);
    else if (isSame) return; // only the answer was lost
    const about = isTaken ? { kind: "edit", message: item } : item.about;
    if (this.chosen === item.key && !field.value && !this.about) {
      if (about) this.writeAbout(about);
      field.value = text;
      if (isSame && !about) this.givenBack = { id: item.id, key: item.key, text };
    } else this.replaceSent({ ...item, id: isSame ? item.id : newId(this.world.me.authority), about, content: text, delivery_status: "failed" });
  }

  async remove(message) {
    if (!confirm("Take this message back for everybody?")) return;
    await this.tell.of(intend("delete_message", { ...this.place, message_id: message.id }));
    await this.lookAgain(message);
  }

  // What others change of it meanwhile, in other places, stays.
  async changeTopic() {
    const topic = prompt(`What ${this.channel.name} is about`, this.channel.topic ?? "");
    if (topic !== null) await this.tell.of(intend("edit_topic", { ...this.place, topic }));
  }

  async create() {
    const field = $("new-channel-name");
    const done = await this.tell.of(intend("create_channel", { name: field.value }));
    if (done) field.value = "";
  }

  // What is on the screen of somebody who looks is read.
  markRead() {
    if (document.visibilityState !== "visible" || $("panel-chat").hidden || !this.channel) return;
    const fresh = [...this.olderOnes, ...this.messages].filter((message) => !message.is_own && !message.is_read && !this.marked.has(message.id)).map((message) => message.id).slice(0, 500);
    if (!fresh.length) return;
    for (const id of fresh) this.marked.add(id);
    intend("mark_read", { ...this.place, message_ids: fresh }).catch(() => { for (const id of fresh) this.marked.delete(id); });
  }
}
