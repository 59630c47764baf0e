// Homes: who is in them, who moderates, and what is laid on whom.

import { $, isolated, make, reconcile, timeOf } from "./dom.js";
import { intend } from "./intents.js";

export class Homes {
  constructor(tell, world) {
    this.tell = tell;
    this.world = world;
    $("new-home").addEventListener("submit", (event) => { event.preventDefault(); this.found(); });
  }

  show(state) {
    this.state = state;
    const homes = Object.values(state.homes).sort((one, other) => one.name.localeCompare(other.name) || (one.context_id < other.context_id ? -1 : 1));
    reconcile($("homes"), homes, (home) => home.context_id, (home) => this.draw(home));
    $("homes-none").hidden = homes.length > 0;
  }

  // Names and channels come from elsewhere; nothing here changes when they do, but how it looks.
  redraw() {
    if (!this.state || $("panel-homes").hidden) return;
    if ($("homes").contains(document.activeElement)) return; // somebody is writing or choosing here
    $("homes").replaceChildren();
    $("homes").known = new Map();
    this.show(this.state);
  }

  draw(home) {
    const me = this.world.me.authority;
    const role = me === home.owner_id ? "owner" : home.moderators.includes(me) ? "moderator" : home.members.includes(me) ? "member" : null;
    const may = role === "owner" || role === "moderator";
    const people = [...new Set([home.owner_id, ...home.members])];
    const item = make("li", {},
      make("h3", {}, isolated(home.name || home.context_id)),
      make("p", { class: "quiet" }, role ? `You are ${role === "owner" ? "its owner" : `a ${role}`}.` : "You are not in it: ask its owner for an invitation."),
      make("code", {}, home.context_id));
    this.list(item, "Members", people, (who) => this.drawMember(home, who, role));
    if (role) item.append(this.form(home, "New channel", "Open", (name) => intend("create_channel", { home: home.context_id, name })));
    if (role) item.append(this.form(home, "Invite (authority)", "Invite", (receiver_id) => intend("send_invitation", { offer: "home", home: home.context_id, receiver_id })));
    const lifted = (name, intent) => (each) => this.sanction(home, each, may && [name, intent]);
    this.list(item, "Banned", home.bans, lifted("Lift the ban", "unban"));
    this.list(item, "Muted", home.mutes, lifted("Lift the mute", "unmute"));
    this.list(item, "Pinned", home.pins, (pin) => make("li", {}, isolated(this.textOf(home, pin)), ` in ${this.channelOf(home, pin.channel_id)} `,
      ...(may ? [this.act("Unpin", `“${this.textOf(home, pin)}”`, "unpin_message", { home: home.context_id, channel_id: pin.channel_id, message_id: pin.message_id })] : [])));
    this.list(item, "Put out of channels", home.kicks, (kick) => make("li", {}, isolated(this.nameOf(kick.target_id)),
      make("span", { class: "quiet" }, ` from ${this.channelOf(home, kick.channel_id)}, ${timeOf(kick.kicked_at)}`, ...(kick.reason ? [": ", isolated(kick.reason)] : []))));
    return item;
  }

  list(item, title, things, draw) {
    if (things.length) item.append(make("h4", {}, title), make("ul", { class: "lines", "aria-label": title }, ...things.map(draw)));
  }

  drawMember(home, who, role) {
    const theirs = who === home.owner_id ? "owner" : home.moderators.includes(who) ? "moderator" : "member";
    const line = make("li", { class: "person" }, isolated(this.nameOf(who), { title: who }), " ", make("span", { class: "quiet" }, theirs));
    if (who === home.owner_id || who === this.world.me.authority || !(role === "owner" || role === "moderator")) return line;
    const about = { home: home.context_id, target_id: who };
    const name = this.nameOf(who);
    const actions = make("span", { class: "actions" });
    if (role === "owner") actions.append(theirs === "moderator" ? this.act("Moderator no more", name, "revoke_moderator", about) : this.act("Make moderator", name, "grant_moderator", about));
    if (!home.mutes.some((each) => each.target_id === who && each.channel_id === null)) actions.append(this.act("Mute", name, "mute", about));
    actions.append(this.ask("Ban", name, `Why ${name} has to leave`, (reason) => intend("ban", { ...about, reason })));
    for (const channel of this.channels(home)) {
      actions.append(this.ask(`Put out of ${channel.name}`, name, `Why ${name} has to leave ${channel.name}`, (reason) => intend("kick_member", { ...about, channel_id: channel.id, reason })));
    }
    line.append(actions);
    return line;
  }

  sanction(home, each, lift) {
    const name = this.nameOf(each.target_id);
    const where = each.channel_id === null ? "everywhere here" : `in ${this.channelOf(home, each.channel_id)}`;
    const line = make("li", {}, isolated(name), make("span", { class: "quiet" }, ` ${where}, by `, isolated(this.nameOf(each.actor_id)),
      each.expires_at === null ? "" : `, until ${timeOf(each.expires_at)}`, ...(each.reason ? [": ", isolated(each.reason)] : [])), " ");
    if (lift) line.append(this.act(lift[0], name, lift[1], { home: home.context_id, target_id: each.target_id, channel_id: each.channel_id }));
    return line;
  }

  act(name, about, intent, fields) {
    return make("button", { type: "button", "aria-label": `${name}: ${about}`, on: { click: () => this.tell.of(intend(intent, fields)) } }, name);
  }

  // A reason may be given, and cancelling does nothing.
  ask(name, about, question, act) {
    return make("button", { type: "button", "aria-label": `${name}: ${about}`, on: { click: () => {
      const reason = prompt(`${question}; it may stay empty`, "");
      if (reason !== null) this.tell.of(act(reason.trim()));
    } } }, name);
  }

  form(home, title, name, act) {
    const id = `${name}-${home.context_id}`;
    const field = make("input", { id, required: true, maxlength: 256, autocomplete: "off" });
    return make("form", { "aria-label": `${title}: ${home.name}`, on: { submit: async (event) => {
      event.preventDefault();
      if (await this.tell.of(act(field.value.trim()))) field.value = "";
    } } }, make("label", { for: id }, title), make("div", { class: "row" }, field, make("button", {}, name)));
  }

  channels(home) {
    return Object.values(this.world.chat.channels).filter((each) => each.context_id === home.context_id);
  }

  channelOf(home, id) { return this.channels(home).find((each) => each.id === id)?.name ?? id; }
  nameOf(who) { return who === this.world.me.authority ? "you" : this.world.nameOf(who); }

  textOf(home, pin) {
    const shown = this.world.findMessage(pin.channel_id, pin.message_id);
    return shown ? shown.content.slice(0, 120) : "a message that is not shown";
  }

  async found() {
    const title = $("new-home-name").value.trim();
    // Its context is told to others and typed again, so it has no blanks.
    if (await this.tell.of(intend("declare_home", { name: title.replace(/\s+/g, "-"), title }))) $("new-home").reset();
  }
}
