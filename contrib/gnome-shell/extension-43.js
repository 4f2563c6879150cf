// What GNOME Shell 43 loads, in place of src/extension.js.
'use strict';

const Me = imports.misc.extensionUtils.getCurrentExtension();
const {Applet} = Me.imports.applet;

class VirtcardExtension {
    enable() {
        this._applet = new Applet(Me.path);
        this._applet.enable();
    }

    disable() {
        this._applet.disable();
        this._applet = null;
    }
}

/* exported init */
function init() {
    return new VirtcardExtension();
}
