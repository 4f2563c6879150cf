// Notifications of the shell, whose constructors changed with GNOME 46.
import GLib from 'gi://GLib';
import * as Config from 'resource:///org/gnome/shell/misc/config.js';
import * as Main from 'resource:///org/gnome/shell/ui/main.js';
import * as MessageTray from 'resource:///org/gnome/shell/ui/messageTray.js';

import * as Words from './words.js';

const TAKES_PROPERTIES = parseInt(Config.PACKAGE_VERSION) >= 46;

export class Posts {
    constructor(icon) {
        this._icon = icon;
        this._sources = new Set();
        this._recalls = new Set();
    }

    // A notification with buttons, {label, act}, that stays until it is answered. `gone` is called when it is closed.
    // What comes back takes it away without a call.
    ask(title, body, buttons, gone) {
        const source = this._source();
        const notification = this._notification(source, title, body, MessageTray.Urgency.CRITICAL);
        let answered = false;
        let closed = false;
        buttons.forEach(({label, act}) => notification.addAction(label, () => {
            answered = true;
            act();
        }));
        // A click beside the buttons answers nothing: it is shown again, with them.
        notification.connect('activated', () => this._recall(source, notification, () => answered || closed));
        notification.connect('destroy', () => {
            closed = true;
            if (!answered)
                gone();
        });
        show(source, notification);
        return () => {
            answered = true;
            if (!closed)
                source.destroy(MessageTray.NotificationDestroyedReason.EXPIRED);
        };
    }

    // A notification to be read.
    tell(title, body) {
        const source = this._source();
        show(source, this._notification(source, title, body, MessageTray.Urgency.HIGH));
    }

    stop() {
        this._recalls.forEach(id => GLib.source_remove(id));
        this._recalls.clear();
        [...this._sources].forEach(source => source.destroy(MessageTray.NotificationDestroyedReason.EXPIRED));
    }

    // One for each notification: a source drops its oldest when it has too many, and a question must not be dropped.
    _source() {
        const icon = this._icon;
        const source = TAKES_PROPERTIES
            ? new MessageTray.Source({title: Words.title(), icon})
            : new MessageTray.Source(Words.title(), 'auth-smartcard-symbolic');
        if (!TAKES_PROPERTIES)
            source.getIcon = () => icon;
        // Sentences are read to their end without a hand on the mouse.
        Object.defineProperty(source.policy, 'forceExpanded', {value: true});
        source.connect('destroy', () => this._sources.delete(source));
        this._sources.add(source);
        Main.messageTray.add(source);
        return source;
    }

    _notification(source, title, body, urgency) {
        if (TAKES_PROPERTIES)
            return new MessageTray.Notification({source, title, body, urgency, resident: urgency === MessageTray.Urgency.CRITICAL});
        const notification = new MessageTray.Notification(source, title, body);
        notification.setUrgency(urgency);
        notification.setResident(urgency === MessageTray.Urgency.CRITICAL);
        return notification;
    }

    _recall(source, notification, isOver) {
        const id = GLib.idle_add(GLib.PRIORITY_DEFAULT, () => {
            this._recalls.delete(id);
            if (!isOver())
                TAKES_PROPERTIES ? notification.acknowledged = false : source.showNotification(notification);
            return GLib.SOURCE_REMOVE;
        });
        this._recalls.add(id);
    }
}

function show(source, notification) {
    if (TAKES_PROPERTIES)
        source.addNotification(notification);
    else
        source.showNotification(notification);
}
