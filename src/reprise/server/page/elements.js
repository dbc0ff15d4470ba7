// Making elements. Data becomes text nodes only, never markup, whatever a title holds.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; what is null among the children is left out. */
export function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for pictures. */
export function draw(tag, attributes = {}, ...children) {
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

/** What to call an item that may have no title. */
export const nameOf = (item) => item.title || String(item.item_id);

/** The id of an item beside its title; nothing where the id is all there is. */
export const idOf = (item) => (item.title ? make("code", {}, String(item.item_id)) : null);

export const signed = (number) => `${number < 0 ? "\u2212" : "+"}${Math.abs(number).toFixed(2)}`;

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
