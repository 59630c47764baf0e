// Elements without markup: whatever a fact says becomes text, never HTML. Nothing here (or anywhere on the page) sets
// innerHTML, and the server's Content-Security-Policy makes the browser refuse it.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// Text of others in an isolated direction, so that a name cannot turn its surroundings around.
export const isolated = (text, attributes = {}) => {
  const element = make("bdi", attributes);
  element.textContent = text;
  return element;
};

// Brings `parent`'s children in line with `items`. An element is kept as long as its key is there, and drawn again only
// when its item is another object: patches share what they do not touch.
export function reconcile(parent, items, keyOf, draw) {
  const known = parent.known ?? (parent.known = new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, entry] of known) if (!wanted.has(key)) { entry.element.remove(); known.delete(key); }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let entry = known.get(key);
    if (entry === undefined) known.set(key, (entry = { element: draw(item), item }));
    else if (entry.item !== item) {
      const fresh = draw(item);
      const hadFocus = entry.element.contains(document.activeElement);
      if (place === entry.element) place = fresh;
      entry.element.replaceWith(fresh);
      if (hadFocus) (fresh.querySelector("button") ?? parent).focus();
      entry.element = fresh;
      entry.item = item;
    }
    if (place === entry.element) place = place.nextElementSibling;
    else parent.insertBefore(entry.element, place);
  }
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
// What a fact may hold is wider than what a calendar knows.
const isDate = (ms) => typeof ms === "number" && Math.abs(ms) <= 8.64e15;
const isToday = (ms) => new Date(ms).toDateString() === new Date().toDateString();
export const timeOf = (ms) => (!isDate(ms) ? "some time" : (isToday(ms) ? CLOCK : DATE).format(ms));
export const time = (ms) =>
  isDate(ms) ? make("time", { class: "quiet", datetime: new Date(ms).toISOString() }, timeOf(ms)) : make("span", { class: "quiet" }, timeOf(ms));

export const shortId = (id) => (id.length <= 8 ? id : `${id.slice(0, 8)}…`);
