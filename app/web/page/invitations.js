// What waits for an answer, and how the rest ended.

import { $, isolated, make, reconcile, shortId, time } from "./dom.js";
import { intend } from "./intents.js";

const OFFERS = { contact: "becoming contacts", guardian: "being a guardian", channel: "a home", device: "another device" };
const PHASES = {
  preparing: "begun", pending_epoch: "waiting for agreement", committing: "all have agreed", committed: "binding",
  aborted: "ended without a result", superseded: "begun anew",
};
const ENDS = { pending: "waiting", accepted: "accepted", rejected: "declined", expired: "ran out", revoked: "taken back" };

export class Invitations {
  constructor(tell, world) {
    this.tell = tell;
    this.world = world;
    $("new-invitation").addEventListener("submit", (event) => { event.preventDefault(); this.invite(); });
  }

  redraw() {
    if (!this.state || $("panel-invitations").contains(document.activeElement)) return;
    for (const part of ["pending", "sent", "history"]) { $(part).replaceChildren(); $(part).known = new Map(); }
    this.show(this.state);
  }

  show(state) {
    this.state = state;
    for (const part of ["pending", "sent", "history"]) {
      reconcile($(part), state[part], (invitation) => `${invitation.context_id} ${invitation.id}`, (invitation) => this.draw(invitation));
    }
  }

  draw(invitation) {
    const isReceived = invitation.direction === "received";
    const other = isReceived ? this.nameOf(invitation.from_id, invitation.from_name) : invitation.to_name ?? this.nameOf(invitation.to_id ?? invitation.accepted_by) ?? "whoever has the link";
    const act = (name, intent) =>
      make("button", { type: "button", "aria-label": `${name} the invitation ${isReceived ? "from" : "to"} ${other}`,
        on: { click: () => this.tell.of(intend(intent, { invitation_id: invitation.id, context_id: invitation.context_id })) } }, name);
    const actions = make("div", { class: "actions" });
    if (invitation.status === "pending") {
      actions.append(...(isReceived ? [act("Accept", "accept_invitation"), act("Decline", "decline_invitation")] : [act("Cancel", "cancel_invitation")]));
    }
    const item = make("li", {},
      make("strong", {}, isReceived ? "From " : "To ", isolated(other)), " ",
      make("span", { class: "quiet" }, `for ${OFFERS[invitation.offer] ?? invitation.offer}, ${ENDS[invitation.status] ?? invitation.status} `), time(invitation.created_at));
    if (invitation.home_name) item.append(make("div", {}, isolated(invitation.home_name)));
    if (invitation.message) item.append(make("div", { class: "said" }, isolated(invitation.message)));
    if (invitation.status === "accepted") {
      if (invitation.ceremonies.length) item.append(this.drawCeremonies(invitation));
      actions.append(...this.ceremonyActions(invitation, act));
      const other_id = isReceived ? invitation.from_id : invitation.accepted_by;
      if (invitation.offer === "contact" && other_id && !this.world.contacts[other_id]) {
        actions.append(make("button", { type: "button", on: { click: () => this.tell.of(intend("add_contact", { contact_id: other_id, nickname: isReceived ? invitation.from_name : invitation.to_name ?? "" })) } }, "Add to contacts"));
      }
    }
    item.append(actions);
    return item;
  }

  nameOf(who, told) {
    return who === null || who === undefined ? undefined : this.world.contacts[who] ? this.world.nameOf(who) : told ?? this.world.nameOf(who);
  }

  drawCeremonies(invitation) {
    return make("ul", { class: "lines", "aria-label": "Ceremonies" }, ...invitation.ceremonies.map((each) => make("li", {},
      `Ceremony ${shortId(each.ceremony_id)}: ${PHASES[each.phase] ?? each.phase}`,
      make("span", { class: "quiet" }, each.required === null ? "" : `, ${each.accepted_by.length} of ${each.required} agreed`,
        ...(each.reason ? [": ", isolated(each.reason)] : [])))));
  }

  // What this person can do for an accepted invitation to become binding.
  ceremonyActions(invitation, act) {
    const active = invitation.ceremonies.find((each) => !["committed", "aborted", "superseded"].includes(each.phase));
    if (!active) return invitation.ceremonies.some((each) => each.phase === "committed") ? [] : [act("Make binding", "begin_ceremony")];
    const own = active.accepted_by.includes(this.world.me.authority) ? [] : [act("Agree", "agree_to_ceremony")];
    const finish = active.phase === "committing" ? [act("Finish", "commit_ceremony")] : [];
    return [...own, ...finish, act("Begin anew", "supersede_ceremony"), act("Abort", "abort_ceremony")];
  }

  async invite() {
    const message = $("invitation-note").value.trim();
    const done = await this.tell.of(intend("send_invitation", {
      offer: $("invitation-kind").value, receiver_id: $("invitation-to").value.trim(), ...(message ? { message } : {}),
    }));
    if (done) $("new-invitation").reset();
  }
}
