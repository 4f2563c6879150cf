// What the objects of a virtcardd mean to a person: machines with virtual readers, and cards. Pure.
import {harmless, line} from './text.js';

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
    const machines = found[DOMAIN]
        .filter(domain => domain.Enabled || domain.Live)
        .map(domain => machine(domain, found[BRIDGE].find(bridge => bridge.Domain === domain.path), cards));
    return {machines: machines.sort(runningFirst), cards: cards.filter(card => card.present)};
}

function machine(domain, bridge, cards) {
    const state = stateOf(domain, bridge);
    return {
        path: domain.path,
        uuid: domain.Uuid,
        name: harmless(domain.Name ?? ''),
        state,
        running: domain.Id >= 0,
        card: cards.find(card => card.domains.includes(domain.path)) ?? unknownCard(bridge?.Source),
        active: state === State.INSERTED && Boolean(bridge.Active),
        error: line(bridge?.LastError || domain.LastError || '', ERROR_MAX),
    };
}

function stateOf(domain, bridge) {
    if (!(domain.Id >= 0))
        return State.OFF;
    if (domain.Mode && domain.Mode !== 'bridge')
        return State.ELSEWHERE;
    if (!domain.Live)
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

// A card of a source that has no objects: all that is known is what it was asked for by.
function unknownCard(source) {
    return source ? {source, name: harmless(source), software: false, present: true, domains: []} : null;
}

function byName(one, other) {
    return one.name.localeCompare(other.name);
}

function runningFirst(one, other) {
    return Number(other.running) - Number(one.running) || byName(one, other);
}
