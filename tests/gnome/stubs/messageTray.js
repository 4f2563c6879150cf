// The notifications of GNOME 45 (arguments) and of 46 and later (properties).
import GObject from 'gi://GObject';

import {PACKAGE_VERSION} from './config.js';
import {Widget} from './widgets.js';

const TAKES_PROPERTIES = parseInt(PACKAGE_VERSION) >= 46;

export const Urgency = {LOW: 0, NORMAL: 1, HIGH: 2, CRITICAL: 3};
export const NotificationDestroyedReason = {EXPIRED: 1, DISMISSED: 2};

function take(names, given) {
    if (TAKES_PROPERTIES !== (given.length === 1 && Object.getPrototypeOf(given[0]) === Object.prototype))
        throw new Error(`GNOME ${PACKAGE_VERSION} does not take ${given.length} arguments`);
    return TAKES_PROPERTIES ? given[0] : Object.fromEntries(names.map((name, index) => [name, given[index]]));
}

export const Source = GObject.registerClass(
class StubSource extends Widget {
    _init(...given) {
        super._init(take(['title', 'iconName'], given));
        this.notifications = [];
        this.policy = {};
    }

    addNotification(notification) {
        if (!TAKES_PROPERTIES)
            throw new TypeError('addNotification came with GNOME 46');
        this._put(notification);
    }

    showNotification(notification) {
        if (TAKES_PROPERTIES)
            throw new TypeError('showNotification went with GNOME 46');
        this._put(notification);
    }

    _put(notification) {
        if (this.notifications.includes(notification))
            return;
        this.notifications.push(notification);
        notification.connect('destroy', () => {
            this.notifications = this.notifications.filter(each => each !== notification);
            if (!this.notifications.length && !this.ending)
                this.destroy();
        });
    }

    destroy() {
        this.ending = true;
        this.notifications.forEach(each => each.destroy());
        super.destroy();
    }
});

export const Notification = GObject.registerClass(
class StubNotification extends Widget {
    _init(...given) {
        super._init(take(['source', 'title', 'body'], given));
        this.actions = [];
    }

    addAction(label, callback) {
        this.actions.push({label, callback});
    }

    setUrgency(urgency) {
        if (TAKES_PROPERTIES)
            throw new TypeError('setUrgency went with GNOME 46');
        this.urgency = urgency;
    }

    setResident(resident) {
        if (TAKES_PROPERTIES)
            throw new TypeError('setResident went with GNOME 46');
        this.resident = resident;
    }
});
