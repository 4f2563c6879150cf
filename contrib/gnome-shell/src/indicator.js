// The icon in the top bar: there while a virtual machine talks to a card, and at no other time.
import GObject from 'gi://GObject';
import * as Main from 'resource:///org/gnome/shell/ui/main.js';
import * as QuickSettings from 'resource:///org/gnome/shell/ui/quickSettings.js';

import {Toggle} from './menu.js';
import * as Words from './words.js';

export const Indicator = GObject.registerClass(
class VirtcardIndicator extends QuickSettings.SystemIndicator {
    _init(icon) {
        super._init();
        this.name = 'virtcard-indicator';
        this._icon = this._addIndicator();
        this._icon.gicon = icon;
        this._icon.visible = false;
        this.toggle = new Toggle(icon);
        this.quickSettingsItems.push(this.toggle);
    }

    // `groups` as for Toggle.show; without any, there is no virtcardd, and nothing is shown.
    show(groups) {
        const active = groups.flatMap(group => group.machines).filter(machine => machine.active);
        this._icon.visible = active.length > 0;
        this._icon.accessible_name = active.length ? Words.inUse(active) : '';
        this.toggle.visible = groups.length > 0;
        this.toggle.show(groups);
    }

    enter() {
        const quickSettings = Main.panel.statusArea.quickSettings;
        if (quickSettings.addExternalIndicator) {
            quickSettings.addExternalIndicator(this);
        } else { // GNOME 43
            quickSettings._indicators.insert_child_at_index(this, 0);
            quickSettings._addItems(this.quickSettingsItems);
        }
    }

    // The menu lies beside its toggle, in an overlay of the quick settings, and does not go with it.
    leave() {
        closeMenu();
        this.toggle.menu.destroy();
        this.toggle.destroy();
        this.destroy();
    }
});

export function closeMenu() {
    Main.panel.statusArea.quickSettings.menu.close();
}
