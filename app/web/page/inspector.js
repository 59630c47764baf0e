// Facts as they arrive, and whom each window set in motion. Follows its own stream, while it is looked at.

import { $, isolated, make, reconcile, shortId, timeOf } from "./dom.js";
import { Feed } from "./feed.js";

export class Inspector {
  open() {
    this.feed ??= new Feed({ feed: "inspector" }, { changed: (_, { inspector }) => this.show(inspector), linked: () => {} });
  }

  close() {
    this.feed?.close();
    this.feed = undefined;
  }

  show(state) {
    reconcile($("windows"), state.windows, (window) => window.number, drawWindow);
    $("windows-none").hidden = state.windows.length > 0;
  }
}

function drawWindow(window) {
  const facts = window.facts.map(drawFact);
  const more = window.fact_count - facts.length;
  if (more > 0) facts.push(make("li", { class: "quiet" }, `and ${more} more`));
  const runs = window.runs.map((run) =>
    make("li", {}, isolated(run.view_id), ` was recomputed because of ${run.why}: `, run.is_changed ? "changed" : "stayed the same"));
  return make("li", {},
    make("strong", {}, `Window ${window.number}`), ` ${window.fact_count} ${window.fact_count === 1 ? "fact" : "facts"}`,
    make("ul", { "aria-label": `Facts of window ${window.number}` }, ...facts),
    make("ul", { class: "runs", "aria-label": `Recomputed for window ${window.number}` }, ...runs));
}

function drawFact(fact) {
  const item = make("li", {},
    make("strong", {}, isolated(fact.kind)), ` ${timeOf(fact.at)} `, isolated(fact.author), ` #${fact.seq} `,
    make("code", { title: fact.fact_id }, shortId(fact.fact_id)), " ", make("span", { class: "quiet" }, isolated(fact.namespace)),
    make("div", {}, make("code", {}, isolated(fact.summary || "(erased)"))));
  if (fact.hidden) item.append(make("div", { class: "quiet" }, `No view shows it: ${fact.hidden}`));
  return item;
}
