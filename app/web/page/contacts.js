// The people of this journal's owner.

import { $, isolated, make, reconcile, shortId } from "./dom.js";
import { intend } from "./intents.js";

const RELATIONS = {
  contact: "contact",
  pending_outbound: "you offered friendship",
  pending_inbound: "offers you friendship",
  friend: "friend",
};

export const nameOf = (contact) => contact.nickname.trim() || contact.nickname_suggestion || shortId(contact.id);

export class Contacts {
  constructor(tell) {
    this.tell = tell;
    $("new-contact").addEventListener("submit", (event) => { event.preventDefault(); this.add(); });
  }

  show(state) {
    const contacts = Object.values(state.contacts).sort((one, other) => nameOf(one).localeCompare(nameOf(other)) || (one.id < other.id ? -1 : 1));
    reconcile($("contacts"), contacts, (contact) => contact.id, (contact) => this.draw(contact));
    reconcile($("known-people"), contacts, (contact) => contact.id, (contact) => make("option", { value: contact.id }, nameOf(contact)));
    $("contacts-none").hidden = contacts.length > 0;
  }

  draw(contact) {
    const act = (name, intent, fields = {}) =>
      make("button", { type: "button", "aria-label": `${name}: ${nameOf(contact)}`, on: { click: () => this.tell.of(intend(intent, { contact_id: contact.id, ...fields })) } }, name);
    const actions = make("div", { class: "actions" });
    const state = contact.relationship_state;
    if (state === "contact") actions.append(act("Offer friendship", "offer_friendship"));
    if (state === "pending_inbound") actions.append(act("Accept friendship", "accept_friendship"));
    if (state !== "contact") actions.append(act(state === "friend" ? "End friendship" : state === "pending_inbound" ? "Refuse" : "Withdraw", "end_friendship"));
    actions.append(act("Write", "open_direct_message"));
    actions.append(make("button", { type: "button", "aria-label": `Rename: ${nameOf(contact)}`, on: { click: () => this.rename(contact) } }, "Rename"));
    const isTold = contact.read_receipt_policy === "enabled";
    actions.append(act(isTold ? "Stop telling what I read" : "Tell what I read", "set_read_receipts", { policy: isTold ? "disabled" : "enabled" }));
    actions.append(act("Remove", "remove_contact"));
    return make("li", {},
      make("strong", {}, isolated(nameOf(contact))), " ",
      make("span", { class: "quiet" }, RELATIONS[state] ?? state, contact.is_guardian ? ", your guardian" : ""),
      make("div", {}, make("code", {}, contact.id)), actions);
  }

  async add() {
    const nickname = $("contact-name").value.trim();
    const done = await this.tell.of(intend("add_contact", { contact_id: $("contact-id").value.trim(), nickname }));
    if (done) $("new-contact").reset();
  }

  async rename(contact) {
    const nickname = prompt(`Your name for ${nameOf(contact)}; empty takes it back`, contact.nickname);
    if (nickname !== null) await this.tell.of(intend("rename_contact", { contact_id: contact.id, nickname }));
  }
}
