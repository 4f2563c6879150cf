// What GNOME Shell 45 and later load.
import {Extension} from 'resource:///org/gnome/shell/extensions/extension.js';

import {Applet} from './applet.js';

export default class VirtcardExtension extends Extension {
    enable() {
        this._applet = new Applet(this.path);
        this._applet.enable();
    }

    disable() {
        this._applet.disable();
        this._applet = null;
    }
}
