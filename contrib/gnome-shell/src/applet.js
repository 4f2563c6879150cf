// All of it together: what is there while the extension is enabled, and nothing of it afterwards.
import Gettext from 'gettext';
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {Agent} from './agent.js';
import {Daemon, DOMAIN} from './daemon.js';
import {Indicator, closeMenu} from './indicator.js';
import {read} from './model.js';
import {Posts} from './posts.js';
import {Questions} from './questions.js';
import {line} from './text.js';
import * as Translate from './translate.js';
import * as Words from './words.js';

const SENTENCE_MAX = 400;
const BUSES = [Gio.BusType.SYSTEM, Gio.BusType.SESSION];

export class Applet {
    constructor(path) {
        Gettext.bindtextdomain(Translate.DOMAIN, GLib.build_filenamev([path, 'locale']));
        this._icon = Gio.icon_new_for_string(GLib.build_filenamev([path, 'icons', 'virtcard-symbolic.svg']));
        this._update = 0;
        this._busy = new Set();
    }

    enable() {
        this._posts = new Posts(this._icon);
        this._questions = new Questions((question, answer) => this._ask(question, answer));
        this._indicator = new Indicator(this._icon);
        this._indicator.show([]);
        this._indicator.enter();
        this._daemons = BUSES.map(busType => this._daemon(busType));
        this._daemons.forEach(({daemon}) => daemon.start());
    }

    disable() {
        if (this._update)
            GLib.source_remove(this._update);
        this._update = 0;
        this._questions.stop();
        this._daemons.forEach(({agent, daemon}) => {
            agent.stop();
            daemon.stop();
        });
        this._posts.stop();
        this._indicator.leave();
        this._busy.clear();
        this._daemons = this._indicator = this._posts = this._questions = null;
    }

    _daemon(busType) {
        const daemon = new Daemon(busType, {
            onChange: () => this._changed(),
            onOwner: owner => agent.follow(owner),
        });
        const agent = new Agent(daemon, this._questions, notice => this._tell(notice));
        return {daemon, agent};
    }

    // Many changes at a time are one for the eyes.
    _changed() {
        this._update ||= GLib.idle_add(GLib.PRIORITY_DEFAULT_IDLE, () => {
            this._update = 0;
            this._indicator.show(this._daemons.filter(({daemon}) => daemon.isThere).map(({daemon}) => this._group(daemon)));
            return GLib.SOURCE_REMOVE;
        });
    }

    _group(daemon) {
        const own = daemon.busType === Gio.BusType.SESSION;
        return {
            ...read(daemon.objects),
            key: own ? 'session' : 'system',
            heading: own ? Words.ownMachines() : Words.systemMachines(),
            isBusy: machine => this._busy.has(machine.key),
            act: (machine, card) => this._act(daemon, machine, card),
        };
    }

    async _act(daemon, machine, card) {
        if (this._busy.has(machine.key))
            return;
        const release = card ? this._questions.expect(machine.uuid, card.source) : () => {};
        this._busy.add(machine.key);
        this._changed();
        // Without a slot it is the first reader, which every virtcardd knows.
        const options = machine.slot ? {slot: new GLib.Variant('u', machine.slot)} : {};
        let problem = null;
        try {
            if (card)
                await daemon.call(machine.path, DOMAIN, 'Insert', new GLib.Variant('(sa{sv})', [card.source, options]));
            else
                await daemon.call(machine.path, DOMAIN, 'Eject', new GLib.Variant('(a{sv})', [options]));
        } catch (error) {
            problem = error;
        }
        release();
        if (!this._indicator)
            return; // disabled meanwhile
        this._busy.delete(machine.key);
        this._changed();
        if (problem)
            this._posts.tell(Words.failed(machine, card), sentence(problem));
    }

    _ask(question, answer) {
        closeMenu(); // it would hide the buttons
        const buttons = question.choices.map(choice => ({
            label: Words.button(choice, question),
            act: () => answer(choice),
        }));
        return this._posts.ask(Words.questionTitle(question), Words.questionBody(question), buttons, () => answer('deny'));
    }

    _tell(notice) {
        const words = Words.notice(notice);
        if (words)
            this._posts.tell(words.title, words.body);
    }
}

// What virtcardd says of an error, and what to do, if it says so.
function sentence(error) {
    if (!Gio.DBusError.is_remote_error(error))
        return Words.noAnswer();
    const name = Gio.DBusError.get_remote_error(error);
    if (!name.startsWith('org.virtcard1.'))
        return Words.noAnswer();
    Gio.DBusError.strip_remote_error(error);
    return error.message.split('\n').map(each => line(each, SENTENCE_MAX)).join('\n');
}
