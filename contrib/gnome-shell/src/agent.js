// org.virtcard1.Agent: by which a virtcardd asks the person. Registered with whichever virtcardd is on the bus, and
// called by nobody else. Of several agents of a person virtcardd asks the newest alone, so nobody is asked twice.
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {MANAGER, ROOT_PATH} from './daemon.js';
import * as Asked from './asked.js';

const PATH = '/org/virtcard1/Agent';
const INTERFACE = `
<node>
  <interface name="org.virtcard1.Agent">
    <method name="Ask"><arg name="question" type="a{sv}" direction="in"/><arg name="answer" type="s" direction="out"/></method>
    <method name="Cancel"><arg name="id" type="s" direction="in"/></method>
    <method name="Notify"><arg name="notice" type="a{sv}" direction="in"/></method>
  </interface>
</node>`;
const DENIED = 'org.freedesktop.DBus.Error.AccessDenied';
const INVALID = 'org.freedesktop.DBus.Error.InvalidArgs';

export class Agent {
    // `questions` are asked, and `tell` gets what there is to tell.
    constructor(daemon, questions, tell) {
        this._daemon = daemon;
        this._questions = questions;
        this._tell = tell;
        this._exported = null;
        this._owner = null;
    }

    // There is a virtcardd now, or (null) none.
    follow(owner) {
        this._questions.cancelAll(this);
        this._owner = owner;
        if (!owner)
            return;
        this._export();
        this._manage('RegisterAgent');
    }

    stop() {
        this._questions.cancelAll(this);
        if (this._owner)
            this._manage('UnregisterAgent');
        this._owner = null;
        this._exported?.unexport();
        this._exported = null;
    }

    _export() {
        if (this._exported)
            return;
        this._exported = Gio.DBusExportedObject.wrapJSObject(INTERFACE, {
            AskAsync: (parameters, invocation) => this._served(invocation, () => this._ask(parameters, invocation)),
            CancelAsync: (parameters, invocation) => this._served(invocation, () => {
                this._questions.cancel(this, parameters[0]);
                invocation.return_value(null);
            }),
            NotifyAsync: (parameters, invocation) => this._served(invocation, () => {
                const notice = Asked.notice(unpacked(parameters[0]));
                if (notice)
                    this._tell(notice);
                invocation.return_value(null);
            }),
        });
        this._exported.export(this._daemon.connection, PATH);
    }

    // Anybody on the bus can call; only virtcardd is listened to.
    _served(invocation, serve) {
        if (this._owner && invocation.get_sender() === this._owner)
            serve();
        else
            invocation.return_dbus_error(DENIED, 'Only virtcardd is served.');
    }

    _ask(parameters, invocation) {
        const question = Asked.question(unpacked(parameters[0]));
        if (!question) {
            invocation.return_dbus_error(INVALID, 'The question cannot be asked.');
            return;
        }
        this._questions.ask(this, question, choice =>
            invocation.return_value(new GLib.Variant('(s)', [choice])));
    }

    // A refusal means that others ask for us, and at the end nobody waits for the answer.
    _manage(method) {
        this._daemon.call(ROOT_PATH, MANAGER, method, new GLib.Variant('(o)', [PATH])).catch(() => {});
    }
}

function unpacked(dictionary) {
    return Object.fromEntries(Object.entries(dictionary).map(([key, value]) => [key, value.recursiveUnpack()]));
}
