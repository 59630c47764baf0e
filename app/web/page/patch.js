// JSON Patch (RFC 6902): add, remove, replace, move. What is not touched is shared with the document before, so that
// `===` tells what changed.

export class Gap extends Error {}

const parts = (pointer) => pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));

function indexOf(list, part, last) {
  const index = part === "-" ? list.length : /^\d+$/.test(part) ? Number(part) : -1;
  if (index < 0 || index > last) throw new Gap(`no item ${part} among ${list.length}`);
  return index;
}

// The document with `change` applied to a copy of whatever holds the last part of the pointer.
function within(document, path, change, at = 0) {
  if (document === null || typeof document !== "object") throw new Gap(`${path.join("/")} leads into a plain value`);
  const copy = Array.isArray(document) ? document.slice() : { ...document };
  if (at === path.length - 1) change(copy, path[at]);
  else {
    const part = Array.isArray(copy) ? indexOf(copy, path[at], copy.length - 1) : path[at];
    if (!Object.hasOwn(copy, part)) throw new Gap(`there is no ${part}`);
    set(copy, part, within(copy[part], path, change, at + 1));
  }
  return copy;
}

// Also for a key such as __proto__, which an assignment would not store.
function set(object, key, value) {
  if (Array.isArray(object)) object[key] = value;
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

function apply(document, operation) {
  const path = parts(operation.path);
  if (operation.op === "move") {
    let moved;
    const without = within(document, parts(operation.from), (holder, part) => { moved = take(holder, part); });
    return apply(without, { op: "add", path: operation.path, value: moved });
  }
  if (path.length === 0) {
    if (operation.op === "remove") throw new Gap("the whole cannot be removed");
    return operation.value;
  }
  return within(document, path, (holder, part) => {
    if (operation.op === "remove") take(holder, part);
    else if (!Array.isArray(holder)) {
      if (operation.op === "replace" && !Object.hasOwn(holder, part)) throw new Gap(`there is no ${part}`);
      set(holder, part, operation.value);
    } else if (operation.op === "add") holder.splice(indexOf(holder, part, holder.length), 0, operation.value);
    else holder[indexOf(holder, part, holder.length - 1)] = operation.value;
  });
}

function take(holder, part) {
  if (Array.isArray(holder)) return holder.splice(indexOf(holder, part, holder.length - 1), 1)[0];
  if (!Object.hasOwn(holder, part)) throw new Gap(`there is no ${part}`);
  const taken = holder[part];
  delete holder[part];
  return taken;
}

export const applyPatch = (document, operations) => operations.reduce(apply, document);
