// virtcardd on one bus: its objects as they are now, and calls to it. Nothing here waits, and nothing throws when the
// daemon is absent, restarts or answers late. (Gio.DBusObjectManagerClient calls the new owner of a name and waits for
// its answer; in the shell that would stop the whole desktop.)
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

export const BUS_NAME = 'org.virtcard1';
export const ROOT_PATH = '/org/virtcard1';
export const MANAGER = 'org.virtcard1.Manager';
export const DOMAIN = 'org.virtcard1.Domain';

const OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const OBJECTS_TYPE = '(a{oa{sa{sv}}})';

export class Daemon {
    // `onChange` is called when the objects changed, `onOwner` with the daemon's unique name when there is a new one,
    // and with null when it is gone.
    constructor(busType, {onChange, onOwner}) {
        this.busType = busType;
        this.connection = null;
        this.owner = null;
        // Object path to an object of interfaces, each an object of properties as plain values.
        this.objects = new Map();
        this._onChange = onChange;
        this._onOwner = onOwner;
        this._subscriptions = [];
        this._watch = 0;
        this._loaded = false;
    }

    // Its objects are known.
    get isThere() {
        return this._loaded;
    }

    start() {
        this._cancellable = new Gio.Cancellable();
        Gio.bus_get(this.busType, this._cancellable, (_source, result) => {
            try {
                this.connection = Gio.bus_get_finish(result);
            } catch {
                return; // there is no such bus, or we have ended
            }
            this._watch = Gio.bus_watch_name_on_connection(
                this.connection, BUS_NAME, Gio.BusNameWatcherFlags.NONE,
                (_connection, _name, owner) => this._appeared(owner),
                () => this._vanished());
        });
    }

    stop() {
        this._cancellable.cancel();
        if (this._watch)
            Gio.bus_unwatch_name(this._watch);
        this._watch = 0;
        this._forget();
        this.connection = null;
    }

    // The reply's values. Rejected with the GLib.Error of a call that failed, also when `stop` came first. It has no
    // timeout: a person may be asked meanwhile.
    call(path, interfaceName, method, parameters, replyType = null) {
        return new Promise((resolve, reject) => {
            if (!this.owner) {
                reject(new GLib.Error(Gio.IOErrorEnum, Gio.IOErrorEnum.NOT_CONNECTED, 'virtcardd is away'));
                return;
            }
            this.connection.call(
                this.owner, path, interfaceName, method, parameters, replyType && new GLib.VariantType(replyType),
                Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION, GLib.MAXINT32, this._cancellable,
                (connection, result) => {
                    try {
                        resolve(connection.call_finish(result).recursiveUnpack());
                    } catch (error) {
                        reject(error);
                    }
                });
        });
    }

    _appeared(owner) {
        this._forget();
        this.owner = owner;
        this._subscribe(owner, OBJECT_MANAGER, null, ROOT_PATH, this._managed);
        this._subscribe(owner, PROPERTIES, 'PropertiesChanged', null, this._changed);
        this._load(owner);
        this._onOwner(owner);
    }

    _vanished() {
        if (!this.owner)
            return;
        this._forget();
        this._onOwner(null);
        this._onChange();
    }

    _forget() {
        this._subscriptions.forEach(id => this.connection.signal_unsubscribe(id));
        this._subscriptions = [];
        this.owner = null;
        this.objects = new Map();
        this._loaded = false;
    }

    _subscribe(owner, interfaceName, member, path, handler) {
        this._subscriptions.push(this.connection.signal_subscribe(
            owner, interfaceName, member, path, null, Gio.DBusSignalFlags.NONE,
            (_connection, _sender, from, _interface, name, parameters) => {
                if (handler.call(this, from, name, parameters) && this._loaded)
                    this._onChange();
            }));
    }

    async _load(owner) {
        let objects;
        try {
            [objects] = await this.call(ROOT_PATH, OBJECT_MANAGER, 'GetManagedObjects', null, OBJECTS_TYPE);
        } catch {
            return; // it went away again, and the next one will be asked
        }
        if (owner !== this.owner)
            return;
        // Signals that came before the answer are in it.
        this.objects = new Map(Object.entries(objects));
        this._loaded = true;
        this._onChange();
    }

    _managed(_from, name, parameters) {
        const type = parameters.get_type_string();
        if (name === 'InterfacesAdded' && type === '(oa{sa{sv}})') {
            const [path, interfaces] = parameters.recursiveUnpack();
            this.objects.set(path, {...this.objects.get(path), ...interfaces});
            return true;
        }
        if (name === 'InterfacesRemoved' && type === '(oas)') {
            const [path, names] = parameters.recursiveUnpack();
            const rest = {...this.objects.get(path)};
            names.forEach(each => delete rest[each]);
            if (Object.keys(rest).length)
                this.objects.set(path, rest);
            else
                this.objects.delete(path);
            return true;
        }
        return false;
    }

    _changed(path, _name, parameters) {
        const there = this.objects.get(path);
        if (!there || parameters.get_type_string() !== '(sa{sv}as)')
            return false;
        const [interfaceName, changed] = parameters.recursiveUnpack();
        if (!there[interfaceName])
            return false;
        this.objects.set(path, {...there, [interfaceName]: {...there[interfaceName], ...changed}});
        return true;
    }
}
