// What the objects of a virtcardd mean to a person: machines with virtual readers, and cards. Pure.
import {fill, harmless, line} from './text.js';
import {_} from './translate.js';

const ERROR_MAX = 300;
const DOMAIN = 'org.virtcard1.Domain';
const READER = 'org.virtcard1.Reader';
const CARD = 'org.virtcard1.Card';
const BRIDGE = 'org.virtcard1.Bridge';

export const State = {
    OFF: 'off', // the machine has a virtual reader, and is off
    PENDING: 'pending', // it gets its reader when it is powered off and started
    ELSEWHERE: 'elsewhere', // its cards do not come from virtcardd
    WAITING: 'waiting',
    EMPTY: 'empty',
    INSERTING: 'inserting',
    INSERTED: 'inserted',
    EJECTING: 'ejecting',
    FAILED: 'failed',
};

const BRIDGE_STATES = {
    connecting: State.WAITING,
    greeting: State.WAITING,
    empty: State.EMPTY,
    inserting: State.INSERTING,
    inserted: State.INSERTED,
    ejecting: State.EJECTING,
    failed: State.FAILED,
    closed: State.FAILED,
};

// {machines, cards}: what there is, in the order in which it is shown. Values that a daemon of another version does not
// send are as good as empty.
export function read(objects) {
    const found = {[DOMAIN]: [], [READER]: [], [CARD]: [], [BRIDGE]: []};
    for (const [path, interfaces] of objects) {
        for (const [name, properties] of Object.entries(interfaces))
            found[name]?.push({path, ...properties});
    }
    const cards = [...readerCards(found[READER]), ...found[CARD].map(softwareCard)].sort(byName);
    const machines = found[DOMAIN].flatMap(domain => readers(domain, found[BRIDGE], cards));
    return {machines: machines.sort(runningFirst), cards: cards.filter(card => card.present)};
}

// One for each virtual reader of a machine. Most have one; others were hot-plugged.
function readers(domain, bridges, cards) {
    const own = bridges.filter(bridge => bridge.Domain === domain.path);
    own.sort((one, other) => (one.Slot ?? 0) - (other.Slot ?? 0));
    if (own.length > 1)
        return own.map((bridge, index) => machine(domain, bridge, cardBySource(bridge, cards), index + 1));
    if (!own.length && !domain.Enabled && !domain.Live)
        return [];
    const [bridge] = own;
    const used = cards.find(card => card.domains.includes(domain.path)) ?? cardBySource(bridge, cards);
    return [machine(domain, bridge, used, 0)];
}

function machine(domain, bridge, card, number) {
    const state = stateOf(domain, bridge);
    const name = harmless(domain.Name ?? '');
    const slot = bridge?.Slot ?? 0;
    return {
        key: `${domain.path} ${slot}`,
        path: domain.path,
        slot,
        uuid: domain.Uuid,
        name: number ? fill(_('{machine}, reader {number}'), {machine: name, number}) : name,
        state,
        running: domain.Id >= 0,
        card,
        active: state === State.INSERTED && Boolean(bridge.Active),
        error: line(bridge?.LastError || domain.LastError || '', ERROR_MAX),
    };
}

function stateOf(domain, bridge) {
    if (!(domain.Id >= 0))
        return State.OFF;
    if (domain.Mode && domain.Mode !== 'bridge')
        return State.ELSEWHERE;
    if (!domain.Live && !bridge)
        return State.PENDING;
    return BRIDGE_STATES[bridge?.State] ?? State.WAITING;
}

function readerCards(readers) {
    const short = readers.map(reader => (reader.Name ?? '').replace(/( [0-9A-F]{2}){1,2}$/, ''));
    return readers.map((reader, index) => ({
        source: `reader:${reader.Name}`,
        // pcscd numbers readers; that tells a person something only when there are two of a kind
        name: harmless(short.filter(each => each === short[index]).length > 1 ? reader.Name : short[index]),
        software: false,
        present: Boolean(reader.Present),
        domains: reader.Domains ?? [],
    }));
}

function softwareCard(card) {
    return {
        source: `card:${card.Name}`,
        name: harmless(card.Name ?? ''),
        software: true,
        present: Boolean(card.Type),
        domains: card.Domains ?? [],
    };
}

// Of a card that is there only as what it was asked for by, a glob or another source, nothing else is known.
function cardBySource(bridge, cards) {
    const source = bridge?.Source;
    if (!source)
        return null;
    return cards.find(card => card.source === source) ??
        {source, name: harmless(source), software: false, present: true, domains: []};
}

function byName(one, other) {
    return one.name.localeCompare(other.name);
}

function runningFirst(one, other) {
    return Number(other.running) - Number(one.running) || byName(one, other);
}
