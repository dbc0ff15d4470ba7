// Creating elements. Data is inserted as text nodes only, so a title cannot contain markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** Return an HTML element with properties and children. Children that are null are left out. */
export function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Return an SVG element with attributes and children. */
export function makeSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), { attributes }, children);
}

function fill(element, { attributes = {}, dataset = {}, ...properties }, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  Object.assign(element.dataset, dataset);
  Object.assign(element, properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function button(text, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, text);
}

/** Return the title of an item, or its id if it has none. */
export const nameOf = (item) => item.title || String(item.item_id);

/** Return an element with the id of an item; null if the item has no title, since then its name is the id. */
export const idOf = (item) => (item.title ? make("code", {}, String(item.item_id)) : null);

/** Return a number with its sign; nothing for null, which a key that gets ranks only receives. */
export const signed = (number) => (number === null ? "" : `${number < 0 ? "\u2212" : "+"}${Math.abs(number).toFixed(2)}`);

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const reducesMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
