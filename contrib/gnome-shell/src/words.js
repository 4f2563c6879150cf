// What a person reads, in the person's language.
import {State} from './model.js';
import {fill} from './text.js';
import {_, _n} from './translate.js';

const UNITS = [
    [86_400, number => _n('{number} day', '{number} days', number)],
    [3_600, number => _n('{number} hour', '{number} hours', number)],
    [60, number => _n('{number} minute', '{number} minutes', number)],
    [1, number => _n('{number} second', '{number} seconds', number)],
];

export function title() {
    return _('Smart Cards');
}

// What the toggle says below its name.
export function summary(machines) {
    const inserted = machines.filter(machine => machine.state === State.INSERTED);
    if (inserted.some(machine => machine.active))
        return _('In use');
    return inserted.length ? _n('{number} inserted', '{number} inserted', inserted.length) : _('None inserted');
}

export function systemMachines() {
    return _('Machines of the system');
}

export function ownMachines() {
    return _('Your own machines');
}

export function openApplication() {
    return _('All Machines and Cards');
}

export function noMachine() {
    return _('No virtual machine has a virtual reader');
}

export function noCard() {
    return _('No card is in a reader of this computer');
}

export function status(machine) {
    switch (machine.state) {
    case State.OFF:
        return _('Off');
    case State.PENDING:
        return _('Power off to get the reader');
    case State.ELSEWHERE:
        return _('Cards from elsewhere');
    case State.WAITING:
        return _('Waiting…');
    case State.EMPTY:
        return _('No card');
    case State.INSERTING:
        return _('Inserting…');
    case State.EJECTING:
        return _('Ejecting…');
    case State.INSERTED:
        return machine.active ? fill(_('{card} · in use'), cardOf(machine)) : fill('{card}', cardOf(machine));
    default:
        return _('Not reachable');
    }
}

export function busy() {
    return _('Please wait…');
}

export function eject(machine) {
    return fill(_('Eject {card}'), cardOf(machine));
}

export function insert(card) {
    return card.software
        ? fill(_('Insert {card} (software card)'), {card: card.name})
        : fill(_('Insert {card}'), {card: card.name});
}

// A card that other machines have, too.
export function alsoIn(names) {
    return fill(_('also in {machines}'), {machines: names.join(', ')});
}

export function inUse(machines) {
    return fill(_('A smart card is used by {machines}'), {machines: machines.map(machine => machine.name).join(', ')});
}

export function failed(machine, card) {
    return card
        ? fill(_('{card} was not inserted in {machine}'), {card: card.name, machine: machine.name})
        : fill(_('The card in {machine} was not ejected'), {machine: machine.name});
}

export function noAnswer() {
    return _('virtcardd did not answer.');
}

// What was asked, without any name in it.
export function questionTitle(question) {
    switch (question.operation) {
    case 'insert':
        return _('May a virtual machine have a smart card?');
    case 'pin':
        return _('May a virtual machine send a PIN to a smart card?');
    case 'sign':
        return _('May a virtual machine sign with a smart card?');
    case 'decrypt':
        return _('May a virtual machine decrypt with a smart card?');
    default:
        return _('May a virtual machine use a smart card?');
    }
}

// Which machine wants which card for what. An operation that a later virtcardd knows is named as it is.
export function questionBody(question) {
    const values = {machine: question.domain, card: question.source, operation: question.operation};
    switch (question.operation) {
    case 'insert':
        return fill(_('“{machine}” wants to have the card “{card}”.'), values);
    case 'pin':
        return fill(_('“{machine}” wants to send a PIN to the card “{card}”.'), values);
    case 'sign':
        return fill(_('“{machine}” wants to sign with the card “{card}”.'), values);
    case 'decrypt':
        return fill(_('“{machine}” wants to decrypt with the card “{card}”.'), values);
    default:
        return fill(_('“{machine}” wants to use the card “{card}” for: {operation}.'), values);
    }
}

export function button(choice, question) {
    switch (choice) {
    case 'once':
        return _('Allow Once');
    case 'always':
        return _('Always Allow');
    case 'session':
        return _('Until I Log Out');
    case 'time':
        return fill(_('For {duration}'), {duration: duration(question.seconds)});
    default:
        return _('Deny');
    }
}

// {title, body} of a notice; null for one that this version does not know.
export function notice(told) {
    const values = {machine: told.domain, card: told.source};
    switch (told.kind) {
    case 'pin-guard':
        return {
            title: _('PIN attempts were stopped'),
            body: fill(_('No more PINs of “{machine}” reach “{card}”: its last tries are yours.'), values),
        };
    case 'locked-eject':
        return {
            title: _('A smart card was taken out'),
            body: fill(_('The screen was locked, so “{card}” was taken out of “{machine}”.'), values),
        };
    default:
        return null;
    }
}

// '10 minutes', in the largest unit that fits.
function duration(seconds) {
    const [size, text] = UNITS.find(([each]) => seconds % each === 0);
    return text(seconds / size);
}

function cardOf(machine) {
    return {card: machine.card?.name ?? _('Card')};
}
