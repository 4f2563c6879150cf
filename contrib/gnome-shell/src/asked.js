// What virtcardd asks and tells, taken from the bus: checked, and with every text made harmless.
import {harmless} from './text.js';

// The answers that are known here, in the order in which they are offered. A notification shows three buttons.
const CHOICES = ['deny', 'once', 'always', 'session', 'time'];
const BUTTONS_MAX = 3;
const PATIENCE_MAX = 600;

// A question from its dictionary; null when it is none that can be asked.
export function question(untrusted) {
    const {id, uuid, domain, source, operation, choices, seconds, patience} = untrusted;
    const texts = [id, uuid, domain, source, operation];
    if (!texts.every(text => typeof text === 'string') || !Array.isArray(choices))
        return null;
    const offered = CHOICES.filter(choice => choice === 'deny' || choices.includes(choice)).slice(0, BUTTONS_MAX);
    const known = offered.filter(choice => choice !== 'time' || Number.isInteger(seconds) && seconds > 0);
    if (known.length < 2 || !(patience > 0))
        return null;
    return {
        id, uuid, seconds,
        rawSource: source,
        domain: harmless(domain),
        source: harmless(shortSource(source)),
        operation: harmless(operation),
        choices: known,
        patience: Math.min(Math.ceil(patience), PATIENCE_MAX),
    };
}

// A notice from its dictionary; null when it is none.
export function notice(untrusted) {
    const {kind, domain, source} = untrusted;
    if (![kind, domain, source].every(text => typeof text === 'string'))
        return null;
    return {kind, domain: harmless(domain), source: harmless(shortSource(source))};
}

// 'reader:NAME' and 'card:NAME' as a person calls them.
function shortSource(source) {
    return source.replace(/^(reader|card):/, '');
}
