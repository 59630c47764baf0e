// The page: one stream of what is, intents for what one wants, and a view for each tab.

import { Chat } from "./chat.js";
import { Contacts, nameOf } from "./contacts.js";
import { $, make, shortId } from "./dom.js";
import { Feed } from "./feed.js";
import { Homes } from "./homes.js";
import { Inspector } from "./inspector.js";
import { Refused } from "./intents.js";
import { Invitations } from "./invitations.js";

const TABS = ["chat", "contacts", "invitations", "homes", "inspector"];
const SYNC = { idle: "no peer yet", syncing: "syncing …", synced: "in sync", failed: "sync failed" };

// Says something that went wrong, until the next thing is done.
function tell(text) {
  $("alerts").replaceChildren(make("span", {}, text));
}
// Waits for an intent: true when it was done, false when it was refused, which is told.
tell.of = async (intent) => {
  try {
    await intent;
    $("alerts").replaceChildren();
    return true;
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    tell(problem.message);
    return false;
  }
};

// What each part may know of the others.
const world = {
  me: { author: "", authority: "" },
  chat: { channels: {} },
  findMessage(channelId, id) { return [...chat.messagesOf.values()].flat().find((each) => each.id === id && each.channel_id === channelId); },
  contacts: {},
  homes: {},
  acknowledged: {},
  nameOf(who) { return this.contacts[who] ? nameOf(this.contacts[who]) : this.names[who] ?? shortId(who); },
  names: {}, // as people sign what they say
};

const chat = new Chat(tell, world, (key) => feed.show(key));
const contacts = new Contacts(tell);
const invitations = new Invitations(tell, world);
const homes = new Homes(tell, world);
const inspector = new Inspector();

function badge(id, count) {
  $(id).hidden = !count;
  $(id).textContent = count ? String(count) : "";
  $(id).setAttribute("aria-label", `${count} ${id === "badge-chat" ? "unread" : "waiting"}`);
}

const SHOW = {
  chat: (state) => {
    chat.show(state);
    badge("badge-chat", state.total_unread);
    document.title = state.total_unread ? `(${state.total_unread}) antiphon` : "antiphon";
  },
  contacts: (state) => contacts.show(state),
  invitations: (state) => {
    invitations.show(state);
    badge("badge-invitations", state.pending.length);
  },
  sync: (state) => {
    const text = SYNC[state.state] ?? state.state;
    $("sync-state").textContent = `${text}${state.reason ? `: ${state.reason}` : ""}`;
  },
  me: (state) => {
    $("me-name").textContent = state.author;
    $("me-id").textContent = state.authority;
  },
  homes: (state) => homes.show(state),
  acknowledged: () => chat.draw(),
  error: (state) => { if (state) tell(state.text); },
};

const feed = new Feed({}, {
  changed: (topics, documents) => {
    Object.assign(world, { me: documents.me, chat: documents.chat, contacts: documents.contacts.contacts, homes: documents.homes.homes, acknowledged: documents.acknowledged.by });
    const messages = documents.messages ?? [];
    if (topics.has("messages")) for (const message of messages) if (!message.imported_by) world.names[message.sender_id] = message.sender_name;
    if (topics.has("messages")) chat.take(feed.shown, messages);
    for (const topic of topics) SHOW[topic]?.(documents[topic]);
    if (topics.has("contacts") || topics.has("chat")) homes.redraw();
    if (topics.has("contacts")) invitations.redraw();
  },
  linked: (isLinked) => { $("link-state").textContent = isLinked ? "live" : "not connected, trying again …"; },
});

function choose(name, { focus = true } = {}) {
  for (const each of TABS) {
    const tab = $(`tab-${each}`);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    $(`panel-${each}`).hidden = each !== name;
  }
  if (focus) $(`tab-${name}`).focus();
  if (name === "inspector") inspector.open(); else inspector.close();
  if (name === "homes") homes.redraw();
  if (name === "chat") chat.draw();
  else chat.wasShown = false;
}

const STEPS = { ArrowRight: 1, ArrowLeft: -1, Home: -TABS.length, End: TABS.length };
for (const [place, name] of TABS.entries()) {
  const tab = $(`tab-${name}`);
  tab.addEventListener("click", () => choose(name));
  tab.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const there = Math.abs(step) > 1 ? Math.max(0, Math.min(TABS.length - 1, place + step)) : (place + step + TABS.length) % TABS.length;
    choose(TABS[there]);
  });
}
