// Elements from code: a page without templates.

/** An element with attributes (`onclick` and the like as functions) and children (elements or text). */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A long name as parts that a line may break between: behind dots, slashes, commas and the like. */
export function breakable(name) {
  return name.split(/(?<=[./,=_])/).flatMap((part, index) => (index ? [document.createElement('wbr'), part] : [part]));
}

/** A table with a caption and one header row. */
export function table(caption, header, rows) {
  return element('table', {},
    element('caption', {}, caption),
    element('thead', {}, element('tr', {}, header.map((cell) => element('th', { scope: 'col' }, cell)))),
    element('tbody', {}, rows.map((row) => element('tr', {}, row.map((cell) => element('td', {}, String(cell)))))));
}
