// What waits for an answer, and how the rest ended.

import { $, isolated, make, reconcile, shortId, time } from "./dom.js";
import { intend } from "./intents.js";

const KINDS = { home: "a home", guardian: "being a guardian", chat: "becoming contacts" };
const ENDS = { pending: "waiting", accepted: "accepted", rejected: "declined", expired: "ran out", revoked: "taken back" };

export class Invitations {
  constructor(tell) {
    this.tell = tell;
    $("new-invitation").addEventListener("submit", (event) => { event.preventDefault(); this.invite(); });
  }

  show(state) {
    for (const part of ["pending", "sent", "history"]) {
      reconcile($(part), state[part], (invitation) => `${invitation.context_id} ${invitation.id}`, (invitation) => this.draw(invitation));
    }
  }

  draw(invitation) {
    const isReceived = invitation.direction === "received";
    const other = isReceived ? invitation.from_name : invitation.to_name ?? (invitation.to_id ? shortId(invitation.to_id) : "whoever has the link");
    const act = (name, intent) =>
      make("button", { type: "button", "aria-label": `${name} the invitation ${isReceived ? "from" : "to"} ${other}`,
        on: { click: () => this.tell.of(intend(intent, { invitation_id: invitation.id, context_id: invitation.context_id })) } }, name);
    const actions = make("div", { class: "actions" });
    if (invitation.status === "pending") {
      actions.append(...(isReceived ? [act("Accept", "accept_invitation"), act("Decline", "decline_invitation")] : [act("Cancel", "cancel_invitation")]));
    }
    const item = make("li", {},
      make("strong", {}, isReceived ? "From " : "To ", isolated(other)), " ",
      make("span", { class: "quiet" }, `for ${KINDS[invitation.type] ?? invitation.type}, ${ENDS[invitation.status] ?? invitation.status} `), time(invitation.created_at));
    if (invitation.home_name) item.append(make("div", {}, isolated(invitation.home_name)));
    if (invitation.message) item.append(make("div", { class: "said" }, isolated(invitation.message)));
    item.append(actions);
    return item;
  }

  async invite() {
    const message = $("invitation-note").value.trim();
    const done = await this.tell.of(intend("send_invitation", {
      offer: $("invitation-kind").value, receiver_id: $("invitation-to").value.trim(), ...(message ? { message } : {}),
    }));
    if (done) $("new-invitation").reset();
  }
}
