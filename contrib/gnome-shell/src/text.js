// Text that comes from elsewhere, and text that is put together.

const NAME_MAX = 80;

// A name from domain XML, a reader or a bus that cannot pretend to be anything but a name: a line without double quotes.
export function harmless(untrustedText) {
    return line(String(untrustedText).replaceAll('"', "'"), NAME_MAX);
}

// One line without control and direction characters.
export function line(untrustedText, max) {
    const text = [...String(untrustedText).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd').trim()];
    return text.length <= max ? text.join('') : `${text.slice(0, max - 1).join('')}\u2026`;
}

// 'Insert {card}' with {card: 'jane'} is 'Insert jane'.
export function fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}
